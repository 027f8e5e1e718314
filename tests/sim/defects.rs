//! Planted defects: what a wrong engine would do. They live here, between the engine and the simulated server, so that
//! none is in the program.

/// A defect of the engine, as its effects, its answers or its snapshot would show it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Defect {
    /// The engine as it is.
    None,
    /// A ping carries our `keep_alive`.
    PinOnPing,
    /// A load is dropped after three seconds.
    DroppedLoad,
    /// A load is sent two seconds after the poll that allowed it.
    LoadWithoutPoll,
    /// What waits for a retry is loaded at the next poll.
    EarlyRetry,
    /// A late answer is taken for that of the open operation of the same kind.
    LateAnswerBelieved,
    /// A poll is answered from memory after the first one that shows all.
    PollsRemembered,
    /// Every ping counts as answered.
    PingsBelieved,
    /// A poll that times out counts as answered with the last list.
    SilenceIgnored,
    /// One load more than allowed.
    OneLoadMore,
    /// Pings lack the options of the load.
    PingWithoutOptions,
    /// The counters begin anew when a model is ready.
    CountersFall,
    /// A loss says no cause.
    LossUnsaid,
    /// The word of the shutdown does not arrive.
    ShutdownUnheard,
    /// The answer of a load is lost inside, and nobody waits for it any more.
    LoadForgotten,
}
