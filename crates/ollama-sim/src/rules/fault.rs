//! Faults: what happens to a server from outside, beside its clients' requests.

use super::{Body, Call, CallId, Output, Rules, RunnerId, Server};
use crate::api::Answer;
use crate::config::ModelSpec;
use crate::journal::EventKind;
use crate::store::Blob;
use crate::store::name::Name;
use bytes::Bytes;
use std::time::Duration;

/// Requests made by a script have ids from here up; those of clients count from 0.
const SCRIPTED: CallId = 1 << 63;

/// Something that happens to the server.
#[derive(Clone, PartialEq, Debug)]
pub enum Fault {
    /// The model's runner is killed (SIGKILL). Ollama does not notice before somebody asks.
    Crash(String),
    /// The model's runner stops (SIGSTOP): it answers nothing and computes nothing.
    Hang(String),
    /// It goes on (SIGCONT).
    Thaw(String),
    /// Another client unloads the model.
    Unload(String),
    /// Another client sends this.
    Client {
        /// Such as `/api/generate`.
        path: String,
        /// JSON.
        body: String,
    },
    /// A computation of this model runs out of memory: it fails, and Ollama unloads everything.
    OutOfMemory(String),
    /// The model is deleted; a runner stays.
    Delete(String),
    /// A model is installed, or another version of it.
    Install(Box<ModelSpec>),
    /// The model's weights vanish from the disk.
    LoseWeights(String),
    /// Half of the weights' file is gone.
    CutWeights(String),
    /// The weights are whole again.
    RestoreWeights(String),
    /// Another load time from now on.
    LoadTime(String, Duration),
    /// Another amount of memory; `None` = as much as it takes.
    Memory(Option<u64>),
    /// The registry is reachable, or not.
    Online(bool),
    /// The server process stops (SIGSTOP): it accepts connections and answers nothing.
    FreezeServer,
    /// It goes on.
    ThawServer,
    /// The server ends (SIGTERM), and its runners with it.
    Stop,
    /// The server is killed (SIGKILL): its runners keep their memory.
    Kill,
    /// The server starts again, with nothing loaded.
    Start,
}

/// Why a fault could not happen.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum FaultError {
    /// There is no such model, or its name is none.
    #[error("there is no model `{0}`")]
    NoModel(String),
    /// The model has no runner.
    #[error("`{0}` has no runner: it is neither loaded nor being loaded")]
    NoRunner(String),
}

impl Rules {
    pub(super) fn apply(&mut self, fault: &Fault) -> Result<(), FaultError> {
        match fault {
            Fault::Crash(model) => self.crash(self.runner_of(model)?),
            Fault::Hang(model) => self.freeze(self.runner_of(model)?),
            Fault::Thaw(model) => self.thaw(self.runner_of(model)?),
            Fault::OutOfMemory(model) => self.run_out_of_memory(self.runner_of(model)?),
            Fault::Unload(model) => {
                self.weights_of(model)?;
                let body = serde_json::json!({"model": model, "keep_alive": 0});
                self.client("/api/generate", body.to_string());
            }
            Fault::Client { path, body } => self.client(path, body.clone()),
            Fault::Delete(model) => {
                let name = Name::parse(model).filter(|name| self.store.delete(name));
                name.ok_or_else(|| FaultError::NoModel(model.clone()))?;
            }
            Fault::Install(spec) => {
                let name = Name::parse(&spec.name);
                let name = name.ok_or_else(|| FaultError::NoModel(spec.name.clone()))?;
                self.store.put(name, (**spec).clone(), self.wall());
            }
            Fault::LoseWeights(model) => self.store.harm(&self.weights_of(model)?, Blob::Missing),
            Fault::CutWeights(model) => self.store.harm(&self.weights_of(model)?, Blob::Cut),
            Fault::RestoreWeights(model) => self.store.harm(&self.weights_of(model)?, Blob::Whole),
            Fault::LoadTime(model, load) => {
                let (blob, load) = (self.weights_of(model)?, *load);
                self.store.change(&blob, |spec| ModelSpec { load, ..spec });
            }
            Fault::Memory(bytes) => self.memory = *bytes,
            Fault::Online(online) => self.online = *online,
            Fault::FreezeServer => self.change_server(Server::Runs, Server::Frozen),
            Fault::ThawServer => self.change_server(Server::Frozen, Server::Runs),
            Fault::Start => self.change_server(Server::Down, Server::Runs),
            Fault::Stop => self.go_down(false),
            Fault::Kill => self.go_down(true),
        }
        Ok(())
    }

    fn weights_of(&self, model: &str) -> Result<String, FaultError> {
        let name = Name::parse(model);
        let found = name.and_then(|name| self.store.find(&name));
        found
            .map(|model| model.blob.clone())
            .ok_or_else(|| FaultError::NoModel(model.into()))
    }

    /// By the name under which it is listed, else by the weights: a deleted model can still have a runner.
    fn runner_of(&self, model: &str) -> Result<RunnerId, FaultError> {
        let key = Name::parse(model)
            .map(|name| name.key())
            .ok_or_else(|| FaultError::NoModel(model.into()))?;
        if let Some(runner) = self
            .runners
            .values()
            .find(|one| one.model.name.key() == key)
        {
            return Ok(runner.id);
        }
        let blob = self.weights_of(model)?;
        let found = self.runners.values().find(|one| one.key() == blob);
        found
            .map(|runner| runner.id)
            .ok_or_else(|| FaultError::NoRunner(model.into()))
    }

    fn client(&mut self, path: &str, body: String) {
        let id = SCRIPTED + self.next_runner;
        self.next_runner += 1;
        let call = Call {
            method: "POST".into(),
            path: path.into(),
            body: Body::Bytes(Bytes::from(body)),
        };
        self.journal.received(self.now, &call);
        match self.server {
            Server::Runs => self.arrive(id, call),
            Server::Frozen => self.held.push((id, call)),
            Server::Down => {}
        }
    }

    /// A computation finds no memory: it fails, and every runner is marked to go.
    fn run_out_of_memory(&mut self, id: RunnerId) {
        let running = self.runners.get(&id).map(|runner| {
            let slots = runner.slots.iter().filter_map(|slot| slot.busy);
            slots.collect::<Vec<_>>()
        });
        for call in running.unwrap_or_default() {
            self.stop_run(call, id);
            self.reply(call, Answer::error(500, "an error was encountered while running the model: failed to allocate compute buffers"));
        }
        let all: Vec<_> = self.loaded.values().copied().collect();
        for id in all {
            self.mark(id, false);
        }
    }

    /// Does nothing if the server is in another state than `from`.
    fn change_server(&mut self, from: Server, to: Server) {
        if self.server != from {
            return;
        }
        self.server = to;
        if from == Server::Down {
            self.store.forget_capabilities();
            self.note(EventKind::ServerStarted, "");
            self.out.push(Output::Listening(true));
        }
        for (id, call) in std::mem::take(&mut self.held) {
            self.arrive(id, call);
        }
    }

    /// Connections are closed at once, without an answer.
    fn go_down(&mut self, killed: bool) {
        if self.server == Server::Down {
            return;
        }
        self.server = Server::Down;
        self.note(EventKind::ServerStopped, "");
        self.out.push(Output::Listening(false));
        let open = std::mem::take(&mut self.calls).into_keys();
        let held = std::mem::take(&mut self.held).into_iter().map(|(id, _)| id);
        self.out.extend(open.chain(held).map(Output::Cut));
        if killed {
            self.orphans
                .extend(self.runners.values().map(|runner| runner.size));
        }
        self.timers.clear();
        self.runners.clear();
        self.loaded.clear();
        self.queue.clear();
        self.barred.clear();
        self.pending = super::pending::Pending::default();
        self.completed = super::completed::Completed::default();
    }

    /// Runners that a killed server has left behind.
    pub fn orphans(&self) -> usize {
        self.orphans.len()
    }
}
