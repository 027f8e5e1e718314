//! What happens to the servers and to the engine, by chance.

use super::*;

impl World<'_> {
    pub(super) fn something(&mut self) -> Verdict {
        let row = usize::try_from(self.dice.roll(self.rules.len() as u64)).unwrap();
        let name = self.dice.pick(&INSTALLED).name.to_owned();
        match self.dice.roll(30) {
            0..=11 => self.client(row, &name),
            12 | 13 => self.fault(row, &Fault::Crash(name)),
            14 | 15 => self.fault(row, &Fault::Hang(name)),
            16 | 17 => self.fault(row, &Fault::Thaw(name)),
            18 | 19 => self.fault(row, &Fault::Unload(name)),
            20 => self.fault(row, &Fault::OutOfMemory(name)),
            21 => self.fault(row, &Fault::FreezeServer),
            22 => self.fault(row, &Fault::ThawServer),
            23 => self.fault(row, &Fault::Stop),
            24 => {
                self.fault(row, &Fault::Stop)?;
                let down = self.dice.millis(1, 6_000);
                self.pass(down)?;
                self.fault(row, &Fault::Start)
            }
            25 => self.fault(row, &Fault::Start),
            26 => {
                let time = self.dice.millis(100, 40_000);
                self.fault(row, &Fault::LoadTime(name, time))
            }
            27 => {
                self.to_lose = 1 + self.dice.roll(2);
                Ok(())
            }
            28 => {
                let jump = i64::try_from(self.dice.roll(7_200_000)).unwrap() - 3_600_000;
                let wall = WALL + i64::try_from(self.now.as_millis()).unwrap() + jump;
                self.say(|| format!("the clock jumps by {jump} ms"));
                self.tell(Event::Clock(UnixMillis(wall)))
            }
            _ => {
                self.kick()?;
                self.late_answer()
            }
        }
    }

    /// The answer of a forgotten operation arrives: nothing changes.
    pub(super) fn late_answer(&mut self) -> Verdict {
        let Some((op, request)) = self.dropped.pop() else {
            return Ok(());
        };
        self.tell(Event::Tick)?;
        let before = self.snapshot.revision;
        let op = match self.defect {
            Defect::LateAnswerBelieved => {
                let same = |open: &Open| {
                    std::mem::discriminant(&open.request) == std::mem::discriminant(&request)
                };
                self.open
                    .iter()
                    .find(|(_, open)| same(open))
                    .map_or(op, |(op, _)| *op)
            }
            _ => op,
        };
        let answer = match request {
            Request::Ps => Answer::Resident(Vec::new()),
            Request::Version => Answer::Version("9.9.9".into()),
            Request::Tags => Answer::Installed(Vec::new()),
            _ => Answer::Done(Timings::default()),
        };
        self.say(|| format!("late answer of {op:?}"));
        let effects = self.engine.handle(
            Mono::from_start(self.now),
            Event::Answered {
                op,
                result: Ok(answer),
            },
        );
        let after = self.engine.snapshot(Mono::from_start(self.now));
        if after.revision != before || !effects.is_empty() {
            return Err((
                6,
                format!(
                    "a late answer of {} changes something: {effects:?}",
                    short(&request)
                ),
            ));
        }
        Ok(())
    }

    pub(super) fn fault(&mut self, row: usize, fault: &Fault) -> Verdict {
        let (done, out) = self.rules[row].fault(self.now, fault);
        if done.is_ok() {
            self.say(|| format!("s{row} !! {fault:?}"));
            self.modes[row] = match (fault, self.modes[row]) {
                (Fault::FreezeServer, Mode::Runs) => Mode::Frozen,
                (Fault::ThawServer, Mode::Frozen) | (Fault::Start, Mode::Down) => Mode::Runs,
                (Fault::Stop | Fault::Kill, _) => Mode::Down,
                (_, mode) => mode,
            };
        }
        self.take(row, out)?;
        self.look()
    }

    pub(super) fn client(&mut self, row: usize, name: &str) -> Verdict {
        let keep_alive = self.dice.pick(&[
            "",
            "",
            "",
            r#","keep_alive":-1"#,
            r#","keep_alive":"5s""#,
            r#","keep_alive":"1m""#,
        ]);
        let options = self.dice.pick(&[
            "",
            "",
            "",
            r#","options":{"num_ctx":1024}"#,
            r#","options":{"num_thread":1}"#,
        ]);
        let what = self
            .dice
            .pick(&["", r#","prompt":"Hello there","stream":false"#]);
        let embeds = weights_of(name) == "mini";
        let body = if embeds {
            format!(r#"{{"model":"{name}","input":"x"{keep_alive}}}"#)
        } else {
            format!(r#"{{"model":"{name}"{what}{keep_alive}{options}}}"#)
        };
        let path = if embeds {
            "/api/embed"
        } else {
            "/api/generate"
        };
        self.fault(
            row,
            &Fault::Client {
                path: path.into(),
                body,
            },
        )
    }
}
