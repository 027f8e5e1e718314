//! The metrics of our own process from `/proc`, with fractions of a second. The library's own collector counts whole
//! seconds and costs more than the rest of a scrape. Where there is no `/proc` they are absent.

use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, Metric, MetricFamily, MetricType};
use std::collections::HashMap;
use std::fs;

/// Name, help, and whether it only rises.
const METRICS: [(&str, &str, bool); 8] = [
    (
        "process_cpu_seconds_total",
        "User and system CPU time of the process, in seconds.",
        true,
    ),
    (
        "process_resident_memory_bytes",
        "Resident memory of the process.",
        false,
    ),
    (
        "process_virtual_memory_bytes",
        "Virtual memory of the process.",
        false,
    ),
    (
        "process_start_time_seconds",
        "When the process started, as Unix time.",
        false,
    ),
    ("process_open_fds", "Open file descriptors.", false),
    ("process_max_fds", "Limit of open file descriptors.", false),
    ("process_threads", "Threads of the process.", false),
    (
        "process_context_switches_total",
        "Voluntary and involuntary context switches.",
        true,
    ),
];

pub(super) struct ProcessCollector {
    descs: Vec<Desc>,
    units: Units,
}

/// What the kernel counts in.
#[derive(Clone, Copy)]
struct Units {
    page_bytes: f64,
    ticks_per_second: f64,
}

impl ProcessCollector {
    pub(super) fn new() -> prometheus::Result<Self> {
        let desc = |(name, help, _): &(&str, &str, bool)| {
            Desc::new(
                (*name).to_owned(),
                (*help).to_owned(),
                Vec::new(),
                HashMap::new(),
            )
        };
        let descs = METRICS
            .iter()
            .map(desc)
            .collect::<prometheus::Result<_>>()?;
        Ok(Self {
            descs,
            units: Units::read(),
        })
    }
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let values = read(self.units);
        METRICS
            .iter()
            .zip(values)
            .filter_map(|((name, help, rises), value)| Some(family(name, help, *rises, value?)))
            .collect()
    }
}

fn family(name: &str, help: &str, rises: bool, value: f64) -> MetricFamily {
    let mut metric = Metric::default();
    let mut family = MetricFamily::default();
    if rises {
        let mut counter = Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
        family.set_field_type(MetricType::COUNTER);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
        family.set_field_type(MetricType::GAUGE);
    }
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_metric(vec![metric]);
    family
}

/// The values in the order of [`METRICS`].
fn read(units: Units) -> [Option<f64>; METRICS.len()] {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is the program's name and may hold anything but a closing parenthesis at its end.
    let fields: Vec<f64> = stat
        .rsplit_once(')')
        .map(|(_, rest)| {
            rest.split_whitespace()
                .map(|word| word.parse().unwrap_or(0.0))
                .collect()
        })
        .unwrap_or_default();
    let field = |number: usize| fields.get(number - 3).copied();
    let cpu = field(14)
        .zip(field(15))
        .map(|(user, system)| (user + system) / units.ticks_per_second);
    let started = boot_time()
        .zip(field(22))
        .map(|(boot, ticks)| boot + ticks / units.ticks_per_second);
    [
        cpu,
        field(24).map(|pages| pages * units.page_bytes),
        field(23),
        started,
        fs::read_dir("/proc/self/fd")
            .ok()
            .map(|entries| entries.count() as f64),
        max_fds(),
        field(20),
        context_switches(),
    ]
}

fn boot_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

fn max_fds() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn context_switches() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let lines = status
        .lines()
        .filter(|line| line.contains("voluntary_ctxt_switches:"));
    let counts: Vec<f64> = lines
        .filter_map(|line| line.rsplit(':').next()?.trim().parse().ok())
        .collect();
    (!counts.is_empty()).then(|| counts.iter().sum())
}

impl Units {
    /// From the auxiliary vector, which the kernel gives every process: pairs of machine words.
    fn read() -> Self {
        const PAGE_SIZE: usize = 6;
        const CLOCK_TICKS: usize = 17;
        const WORD: usize = size_of::<usize>();
        let vector = fs::read("/proc/self/auxv").unwrap_or_default();
        let words: Vec<usize> = vector
            .chunks_exact(WORD)
            .filter_map(|word| word.try_into().ok().map(usize::from_ne_bytes))
            .collect();
        let find = |wanted: usize| {
            words.chunks_exact(2).find_map(|pair| match pair {
                [key, value] if *key == wanted => Some(*value as f64),
                _ => None,
            })
        };
        Self {
            page_bytes: find(PAGE_SIZE).unwrap_or(4096.0),
            ticks_per_second: find(CLOCK_TICKS).unwrap_or(100.0),
        }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_values_of_this_process_are_plausible() {
        let values = read(Units::read());
        let [cpu, resident, size, start, fds, max, threads, switches] =
            values.map(|value| value.expect("a value"));
        assert!(cpu >= 0.0 && cpu.fract() <= 1.0);
        assert!((1e6..1e12).contains(&resident), "{resident}");
        assert!(size >= resident);
        assert!((1.7e9..1e11).contains(&start), "{start}");
        assert!(fds >= 3.0 && fds <= max);
        assert!(threads >= 1.0 && switches >= 0.0);
    }
}
