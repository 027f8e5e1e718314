//! From the engine to the servers: its effects, and the planted defects that change them.

use super::*;

impl World<'_> {
    pub(super) fn tell(&mut self, event: Event) -> Verdict {
        if self.shut && self.defect == Defect::ShutdownUnheard && event == Event::Shutdown {
            return Ok(());
        }
        let effects = self.engine.handle(Mono::from_start(self.now), event);
        self.update();
        for effect in effects {
            self.carry_out(effect)?;
        }
        if let Some(due) = self.engine.next_due()
            && due.since_start() <= self.now
        {
            return Err((0, format!("it would be woken for ever: due {due:?}")));
        }
        self.drain()
    }

    pub(super) fn update(&mut self) {
        let before = std::mem::replace(
            &mut self.snapshot,
            self.engine.snapshot(Mono::from_start(self.now)),
        );
        if self.defect == Defect::CountersFall {
            for model in &mut self.snapshot.models {
                let model = Arc::make_mut(model);
                for view in &mut model.instances {
                    if view.state == State::Ready {
                        Arc::make_mut(view).totals = Arc::new(Totals::default());
                    }
                }
            }
        }
        if before.revision == self.snapshot.revision || self.history.is_none() {
            return;
        }
        if before.gate.ready != self.snapshot.gate.ready {
            let open = self.snapshot.gate.ready;
            self.say(|| format!("        gate {}", if open { "open" } else { "closed" }));
        }
    }

    pub(super) fn carry_out(&mut self, effect: Effect) -> Verdict {
        match effect {
            Effect::Send {
                op,
                server,
                request,
            } => {
                let row = usize::try_from(server.0).unwrap();
                if self.defect == Defect::LoadWithoutPoll
                    && matches!(request, Request::Load(_))
                    && self.late_load.is_none()
                {
                    self.late_load = Some((self.now + Duration::from_secs(2), op, row, request));
                    return Ok(());
                }
                self.send(op, row, request)
            }
            Effect::Drop(op) => self.drop_op(op),
            Effect::Log(notice) => {
                if let Notice::Lost {
                    model,
                    server,
                    cause,
                    ..
                } = &notice
                    && !(self.defect == Defect::LossUnsaid && *cause != LossCause::Unknown)
                {
                    *self
                        .checks
                        .lost
                        .entry((Arc::clone(server), Arc::clone(model)))
                        .or_default() += 1;
                }
                self.say(|| format!("        {}", words(&notice)));
                Ok(())
            }
        }
    }

    pub(super) fn send(&mut self, op: OpId, row: usize, request: Request) -> Verdict {
        self.say(|| format!("s{row} <- {op:?} {}", short(&request)));
        if self.shut {
            return Err((10, format!("{request:?} after the shutdown began")));
        }
        if self.defect == Defect::PingsBelieved && matches!(request, Request::Ping(_)) {
            return self.believe(op, Answer::Done(Timings::default()));
        }
        if self.defect == Defect::SilenceIgnored
            && request == Request::Ps
            && self.silenced[row]
            && let Some(list) = self.remembered[row].clone()
        {
            return self.believe(op, list);
        }
        let list = (self.fresh == Some(row)).then(|| self.lists[row].as_slice());
        let mut request = request;
        if self.defect == Defect::PingWithoutOptions
            && let Request::Ping(target) = request
        {
            request = Request::Ping(Target {
                options: Arc::default(),
                ..target
            });
        }
        let runners = truth(&self.rules[row]);
        self.checks.sent(self.now, row, &request, list, &runners)?;
        if let Request::Load(target) = &request {
            self.may_load(row, &target.model)?;
        }
        let mut call =
            plain::encode(&request).map_err(|failure| (0, failure.message.to_string()))?;
        if let (Defect::PinOnPing, Request::Ping(_), Some(body)) =
            (self.defect, &request, &mut call.body)
        {
            body["keep_alive"] = model_preloader::engine::request::PIN_SECONDS.into();
        }
        let pins = matches!(
            request,
            Request::Load(_) | Request::Pin(_) | Request::Unload { .. }
        );
        if !pins
            && call
                .body
                .as_ref()
                .is_some_and(|body| body.get("keep_alive").is_some())
        {
            return Err((4, format!("{request:?} carries a keep_alive")));
        }
        let body: bytes::Bytes = call
            .body
            .as_ref()
            .map_or_else(Default::default, |body| body.to_string().into());
        let mut calls = Vec::new();
        for _ in 0..call.copies {
            let id = self.next_call;
            self.next_call += 1;
            calls.push(id);
            self.calls.insert((row, id), op);
        }
        self.open.insert(
            op,
            Open {
                row,
                request,
                calls: calls.clone(),
                answers: Vec::new(),
                sent: self.now,
            },
        );
        for id in calls {
            let method = if call.body.is_some() { "POST" } else { "GET" };
            let call = Call {
                method: method.into(),
                path: call.path.into(),
                body: Body::Bytes(body.clone()),
            };
            let out = self.rules[row].call(self.now, id, call);
            self.coming
                .extend(out.into_iter().map(|output| (row, output)));
        }
        Ok(())
    }

    pub(super) fn may_load(&self, row: usize, name: &str) -> Verdict {
        let loads = self
            .open
            .values()
            .filter(|open| open.row == row && matches!(open.request, Request::Load(_)));
        let loads = loads.count() + 1;
        let most = self.setup.spec.timing.concurrency;
        if loads > most {
            return Err((3, format!("{loads} loads in flight, {most} at most")));
        }
        Ok(()).and_then(|()| {
            if self.kicked {
                Ok(())
            } else {
                self.may_retry(row, name)
            }
        })
    }

    /// The snapshot before the load says when it is due.
    pub(super) fn may_retry(&self, row: usize, name: &str) -> Verdict {
        let model = self
            .snapshot
            .models
            .iter()
            .find(|model| &*model.name == name);
        let view = model.map(|model| &model.instances[row]);
        let due = view
            .and_then(|view| view.next_retry_at)
            .map(Mono::since_start);
        match due {
            Some(due) if due > self.now => Err((
                3,
                format!(
                    "{name} is loaded {:.3} s before its next retry",
                    (due - self.now).as_secs_f64()
                ),
            )),
            _ => Ok(()),
        }
    }

    pub(super) fn drop_op(&mut self, op: OpId) -> Verdict {
        let Some(open) = self.open.remove(&op) else {
            self.late_load.take_if(|(_, late, ..)| *late == op);
            return Ok(());
        };
        self.say(|| format!("s{} x  {op:?} {}", open.row, short(&open.request)));
        let timing = &self.setup.spec.timing;
        let may_load = !matches!(
            open.request,
            Request::Version | Request::Ps | Request::Tags | Request::Show { .. }
        );
        if may_load && !self.shut && self.now - open.sent < timing.load_deadline {
            return Err((
                5,
                format!(
                    "{} is dropped after {:.3} s",
                    short(&open.request),
                    (self.now - open.sent).as_secs_f64()
                ),
            ));
        }
        for id in open.calls {
            self.calls.remove(&(open.row, id));
            let out = self.rules[open.row].gone(self.now, id);
            self.coming
                .extend(out.into_iter().map(|output| (open.row, output)));
        }
        if open.request == Request::Ps {
            self.silenced[open.row] = true;
        }
        self.dropped.push((op, open.request));
        Ok(())
    }

    /// A planted defect: this operation ends with this answer, whatever the server says.
    pub(super) fn believe(&mut self, op: OpId, answer: Answer) -> Verdict {
        self.open.remove(&op);
        self.tell(Event::Answered {
            op,
            result: Ok(answer),
        })
    }
}
