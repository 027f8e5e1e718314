//! From the servers to the engine: replies, put together, read as in production, lost or falsified.

use super::*;

impl World<'_> {
    pub(super) fn take(&mut self, row: usize, out: Vec<Output>) -> Verdict {
        self.coming
            .extend(out.into_iter().map(|output| (row, output)));
        self.drain()
    }

    pub(super) fn drain(&mut self) -> Verdict {
        while let Some((row, output)) = self.coming.pop_front() {
            match output {
                Output::Reply(id, reply) => {
                    self.replied(row, id, Some((reply.status, reply.body.to_vec())))?;
                }
                Output::Begin(id, status, _) => {
                    drop(self.pieces.insert((row, id), (status, Vec::new())));
                }
                Output::Data(id, piece) => {
                    if let Some((_, body)) = self.pieces.get_mut(&(row, id)) {
                        body.extend_from_slice(&piece);
                    }
                }
                Output::End(id) => {
                    let whole = self.pieces.remove(&(row, id));
                    self.replied(row, id, whole)?;
                }
                Output::Cut(id) => self.replied(row, id, None)?,
                Output::Listening(_) => {}
            }
        }
        Ok(())
    }

    pub(super) fn replied(
        &mut self,
        row: usize,
        id: CallId,
        reply: Option<(u16, Vec<u8>)>,
    ) -> Verdict {
        let Some(op) = self.calls.remove(&(row, id)) else {
            return Ok(());
        };
        let Some(open) = self.open.get_mut(&op) else {
            return Ok(());
        };
        let lost = self.to_lose > 0 && !matches!(open.request, Request::Version);
        let result: Result<Answer, Failure> = match reply {
            Some(_) if lost => {
                self.to_lose -= 1;
                Err(plain::cut())
            }
            Some((status, body)) => plain::decode(&open.request, status, &body),
            None => Err(plain::cut()),
        };
        let result = match result {
            Ok(answer) => {
                open.answers.push(answer);
                if open.answers.len() < open.calls.len() {
                    return Ok(());
                }
                let answers = std::mem::take(&mut open.answers);
                match answers.len() {
                    1 => Ok(answers.into_iter().next().unwrap()),
                    _ => Ok(plain::slowest(answers)),
                }
            }
            Err(failure) => Err(failure),
        };
        let Some(open) = self.open.remove(&op) else {
            return Ok(());
        };
        for other in open.calls.iter().filter(|other| **other != id) {
            if self.calls.remove(&(row, *other)).is_some() {
                let out = self.rules[row].gone(self.now, *other);
                self.coming
                    .extend(out.into_iter().map(|output| (row, output)));
            }
        }
        self.ended(op, &open, result)
    }

    pub(super) fn ended(
        &mut self,
        op: OpId,
        open: &Open,
        result: Result<Answer, Failure>,
    ) -> Verdict {
        let row = open.row;
        if open.request != Request::Ps || result.is_err() {
            self.say(|| {
                format!(
                    "s{row} -> {op:?} {}: {}",
                    short(&open.request),
                    said(&result)
                )
            });
        }
        if self.defect == Defect::LoadForgotten && matches!(open.request, Request::Load(_)) {
            return Ok(());
        }
        let mut result = result;
        if let Ok(Answer::Resident(entries)) = &result {
            self.lists[row] = entries
                .iter()
                .map(|entry| weights_of(&entry.name))
                .collect();
            if self.defect == Defect::PollsRemembered
                && self.snapshot.gate.ready
                && let Some(list) = &self.remembered[row]
            {
                result = Ok(list.clone());
            } else {
                self.remembered[row] = Some(result.clone().unwrap());
            }
            self.fresh = Some(row);
            self.silenced[row] = false;
        }
        let early = self.early_retry(row);
        let told = self.tell(Event::Answered { op, result });
        let told = told
            .and_then(|()| early.map_or(Ok(()), |request| self.send(OpId(u64::MAX), row, request)));
        self.fresh = None;
        told
    }

    pub(super) fn early_retry(&self, row: usize) -> Option<Request> {
        if self.defect != Defect::EarlyRetry || self.fresh != Some(row) {
            return None;
        }
        let waits = |model: &&Arc<model_preloader::engine::snapshot::ModelView>| {
            let view = &model.instances[row];
            view.state == State::Retrying && view.residency.is_none()
        };
        let model = self.snapshot.models.iter().find(waits)?;
        let spec = self
            .setup
            .spec
            .models
            .iter()
            .find(|spec| spec.name == model.name)?;
        Some(Request::Load(Target {
            model: Arc::clone(&model.name),
            via: model_preloader::engine::request::Via::Generate,
            options: Arc::clone(&spec.options),
        }))
    }
}
