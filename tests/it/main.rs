//! The whole preloader against the simulated Ollama, over real sockets. Loads take milliseconds here and every wait is
//! for a value, with a bound that only a defect reaches.

#![cfg(test)]

mod keeping;
mod shown;
mod stand;
mod starting;
mod strange;
