//! Histories made on purpose: right ones from a simulated object, and wrong ones by one change that must be noticed.
//!
//! Checkers are tested with both: a checker that fails a right history, or passes a wrong one, is broken.

mod mutate;
mod object;

pub use mutate::{Mutation, mutate};
pub use object::Object;

use rand::{RngExt, SeedableRng, rngs::StdRng};
use std::collections::BTreeMap;

use crate::{
    history::{Kind, Op, Pending, Process, Writer},
    model::Model,
};

/// What a simulated run looks like.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Clients at the same time.
    pub clients: usize,
    /// Objects.
    pub keys: usize,
    /// Calls in the whole run.
    pub calls: usize,
    /// Per mille of calls that get no answer.
    pub info_permille: u32,
    /// Per mille of calls that are refused.
    pub fail_permille: u32,
    /// Per mille of calls that destroy their object, where it can be destroyed.
    pub destroy_permille: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { clients: 4, keys: 1, calls: 40, info_permille: 30, fail_permille: 30, destroy_permille: 10 }
    }
}

/// Where one simulated client is. A call takes effect at a moment of its own between its question and its answer.
enum Client<M: Model> {
    Idle(Process),
    Asked { process: Process, pending: Pending, key: usize, input: M::Input },
    Applied { process: Process, pending: Pending, input: M::Input, output: M::Output },
}

struct Simulation<M: Object> {
    rng: StdRng,
    settings: Settings,
    writer: Writer,
    objects: BTreeMap<usize, M::State>,
    hints: BTreeMap<usize, i64>,
    /// Unanswered calls whose effect may still come.
    late: Vec<(usize, M::Input)>,
    fresh: i64,
}

/// A linearizable history: clients of correct objects, some calls unanswered (with effect at once, later, or never).
pub fn simulate<M: Object>(seed: u64, settings: Settings) -> Vec<Op> {
    let mut simulation = Simulation::<M> {
        rng: StdRng::seed_from_u64(seed),
        settings,
        writer: Writer::create(None).expect("no file, no error"),
        objects: BTreeMap::new(),
        hints: BTreeMap::new(),
        late: Vec::new(),
        fresh: 0,
    };
    let mut clients: Vec<Client<M>> =
        (0..settings.clients).map(|_| Client::Idle(simulation.writer.new_process())).collect();
    let mut asked = 0;
    loop {
        let at = simulation.rng.random_range(0..clients.len());
        if asked == settings.calls && clients.iter().all(|client| matches!(client, Client::Idle(_))) {
            break;
        }
        let Client::Idle(process) = clients[at] else {
            let client = std::mem::replace(&mut clients[at], Client::Idle(Process::Nemesis));
            clients[at] = simulation.advance(client);
            continue;
        };
        if asked < settings.calls {
            asked += 1;
            clients[at] = simulation.ask(process);
        }
    }
    let mut history = simulation.writer.finish().expect("no file, no error");
    for op in &mut history {
        op.time = op.index;
    }
    history
}

impl<M: Object> Simulation<M> {
    fn ask(&mut self, process: Process) -> Client<M> {
        let key = self.rng.random_range(0..self.settings.keys);
        self.fresh += 1;
        let destroy = self.chance(self.settings.destroy_permille);
        let input = M::random_input(&mut self.rng, self.fresh, self.hints.get(&key).copied(), destroy);
        let (f, value) = M::invocation(&input);
        let pending = self.writer.invoke(process, f, &format!("k{key}"), value, "simulated");
        Client::Asked { process, pending, key, input }
    }

    fn advance(&mut self, client: Client<M>) -> Client<M> {
        match client {
            Client::Idle(process) => Client::Idle(process),
            Client::Asked { process, pending, key, input } => {
                self.apply_late();
                let value = M::invocation(&input).1;
                if self.chance(self.settings.fail_permille) {
                    self.writer.complete(pending, Kind::Fail, value, Some("refused".into()));
                    return Client::Idle(process);
                }
                if self.chance(self.settings.info_permille / 2) {
                    self.writer.complete(pending, Kind::Info, value, Some("timeout".into()));
                    self.late.push((key, input));
                    return Client::Idle(self.writer.new_process());
                }
                let output = self.apply(key, &input);
                Client::Applied { process, pending, input, output }
            }
            Client::Applied { process, pending, input, output } => {
                if self.chance(self.settings.info_permille / 2) {
                    let value = M::invocation(&input).1;
                    self.writer.complete(pending, Kind::Info, value, Some("timeout".into()));
                    return Client::Idle(self.writer.new_process());
                }
                self.writer.complete(pending, Kind::Ok, M::answer(&input, &output), None);
                Client::Idle(process)
            }
        }
    }

    /// Lets one unanswered call take effect, or none, or forgets it for ever.
    fn apply_late(&mut self) {
        if self.late.is_empty() || !self.chance(200) {
            return;
        }
        let at = self.rng.random_range(0..self.late.len());
        let (key, input) = self.late.swap_remove(at);
        if self.chance(700) {
            self.apply(key, &input);
        }
    }

    fn apply(&mut self, key: usize, input: &M::Input) -> M::Output {
        let state = self.objects.entry(key).or_insert_with(M::initial);
        let (next, output) = M::apply(state, input);
        *state = next;
        if let Some(hint) = M::hint(state) {
            self.hints.insert(key, hint);
        }
        output
    }

    fn chance(&mut self, permille: u32) -> bool {
        self.rng.random_range(0..1000) < permille
    }
}
