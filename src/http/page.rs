//! The page at `/`: who this is and where to look.

/// Embedded, no external asset, no script.
pub(super) const HTML: &str = concat!(
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">",
    "<title>Model Preloader</title><h1>Model Preloader ",
    env!("CARGO_PKG_VERSION"),
    "</h1><p>Loads the declared models of Ollama, keeps them warm, and says whether they are.</p><ul>",
    "<li><a href=\"api/status\">Status</a> of everything",
    "<li><a href=\"api/models/status\">Models</a>, one entry each",
    "<li><a href=\"metrics\">Metrics</a> for Prometheus",
    "<li><a href=\"-/ready\">Ready</a>: is everything warm?",
    "<li><a href=\"-/healthy\">Healthy</a>: does this process run?",
    "</ul></html>\n"
);
