//! The end of a run: nothing happens any more, then everything is shut down.

use super::*;

impl World<'_> {
    /// Nothing happens any more: what fits becomes ready, and stays so.
    pub(super) fn calm(&mut self) -> Verdict {
        self.say(|| "calm".into());
        self.to_lose = 0;
        for row in 0..self.rules.len() {
            self.fault(row, &Fault::ThawServer)?;
            self.fault(row, &Fault::Start)?;
            for one in &INSTALLED {
                self.fault(row, &Fault::Thaw(one.name.into()))?;
                self.fault(
                    row,
                    &Fault::LoadTime(one.name.into(), Duration::from_secs(3)),
                )?;
            }
        }
        // What clients have asked for so far may still be loaded, by one loader, one after the other.
        let queue = (self.setup.slowest_load + Duration::from_secs(10)) * 8;
        let end = self.now + queue;
        while self.now < end && self.rules.iter().any(|rules| rules.waiting() > 0) {
            self.pass(Duration::from_secs(1))?;
        }
        self.others_leave()?;
        self.pass(UNLOADED)?;
        self.kick()?;
        let limit = self.now + self.patience();
        let mut moved = (self.now, 0);
        while !self.all_ready() && self.setup.fits {
            if self.now >= limit {
                let views = self
                    .snapshot
                    .models
                    .iter()
                    .flat_map(|model| model.instances.iter().map(move |view| (model, view)));
                let states: Vec<_> = views
                    .map(|(model, view)| {
                        format!("{} on {}: {}", model.name, view.server, view.state)
                    })
                    .collect();
                return Err((
                    2,
                    format!(
                        "{} s after the last fault: {}",
                        self.patience().as_secs(),
                        states.join(", ")
                    ),
                ));
            }
            self.pass(Duration::from_secs(1))?;
            self.others_leave()?;
            let events = self
                .rules
                .iter()
                .map(|rules| rules.events().count())
                .sum::<usize>();
            let waiting = self.rules.iter().any(|rules| rules.waiting() > 0);
            if !waiting || events != moved.1 {
                moved = (self.now, events);
            } else if self.now >= moved.0 + WEDGED {
                moved.0 = self.now;
                self.say(|| "wedged: a person unloads what is there".into());
                for row in 0..self.rules.len() {
                    for one in &INSTALLED {
                        self.fault(row, &Fault::Unload(one.name.into()))?;
                    }
                }
            }
        }
        self.pass(QUIET)?;
        if self.setup.fits && !self.all_ready() {
            return Err((2, "it does not stay ready although nothing happens".into()));
        }
        Ok(())
    }

    /// A model that a client keeps for ever takes a place from ours for ever: Ollama evicts what leaves soonest.
    pub(super) fn others_leave(&mut self) -> Verdict {
        for row in 0..self.rules.len() {
            for other in INSTALLED
                .iter()
                .filter(|one| matches!(one.weights, "x" | "y"))
            {
                if truth(&self.rules[row])
                    .iter()
                    .any(|runner| runner.weights == other.weights)
                {
                    self.fault(row, &Fault::Unload(other.name.into()))?;
                }
            }
        }
        Ok(())
    }

    /// A quarantine may last an hour; a person who has made room says so.
    pub(super) fn kick(&mut self) -> Verdict {
        self.say(|| "kick".into());
        self.kicked = true;
        let told = self.tell(Event::Kick(None));
        self.kicked = false;
        told
    }

    pub(super) fn all_ready(&self) -> bool {
        let views = self
            .snapshot
            .models
            .iter()
            .flat_map(|model| &model.instances);
        views.clone().all(|view| view.state == State::Ready)
    }

    /// The waits that may be running, and what loads and warm-ups take.
    pub(super) fn patience(&self) -> Duration {
        let timing = &self.setup.spec.timing;
        let loads = (self.setup.slowest_load + Duration::from_secs(10)) * 8;
        timing.conflict_window
            + timing.health_interval * 2
            + timing.max_retry_delay * 2
            + timing.reclaim_after
            + timing.load_deadline
            + loads
            + WEDGED * 2
    }

    pub(super) fn shut_down(&mut self) -> Verdict {
        self.shut = true;
        self.checks.end(&self.snapshot)?;
        self.say(|| "shutdown".into());
        self.tell(Event::Shutdown)?;
        self.pass(Duration::from_secs(30))?;
        self.tell(Event::Kick(None))?;
        if self.snapshot.gate.ready {
            return Err((10, "the gate is open after the shutdown began".into()));
        }
        if !self.open.is_empty() {
            return Err((
                10,
                format!("{} requests are open after the shutdown", self.open.len()),
            ));
        }
        Ok(())
    }
}
