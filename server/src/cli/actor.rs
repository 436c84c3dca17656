//! `lethe actor`: call, destroy, list and show actors of a running node, over its gRPC address.

use std::{io::Write, time::Duration};

use anyhow::anyhow;
use clap::{ArgGroup, Args, CommandFactory, Subcommand, error::ErrorKind};
use lethe_client::{ActorInfo, ActorState, Client, DestroyedBy, Id};
use serde_json::{Value, json};

use super::{Cli, api::ApiArgs, output::iso_time};

/// Longest `--timeout`, seconds.
const TIMEOUT_SECS_MAX: u64 = 900;

/// Examples of `lethe actor`.
pub(super) const EXAMPLES: &str = "\
Examples:
  lethe actor call Room lobby say '[\"ann\", \"hello\"]'
  lethe actor list Room
  lethe actor show Room lobby
  lethe actor destroy Room lobby

Errors say whether the call took effect: done, not done, or unknown.";

const CALL_USAGE: &str = "\
lethe actor call [OPTIONS] <NAMESPACE> <NAME> <METHOD> [JSON]
       lethe actor call [OPTIONS] --id <HEX> <NAMESPACE> <METHOD> [JSON]
       lethe actor call [OPTIONS] --unique <NAMESPACE> <METHOD> [JSON]";

const CALL_EXAMPLES: &str = "\
JSON is an array of all arguments; any other value is one argument. Without it the method gets
none. To give one argument that is itself an array, write it inside another: '[[1, 2]]'.

Examples:
  lethe actor call Counter home increment                  no arguments
  lethe actor call Counter home increment 5                one argument
  lethe actor call Room lobby say '[\"ann\", \"hello\"]'       two arguments
  lethe actor call chat/Room --id 5f0c... history          an actor by its id
  lethe actor call Room --unique start --json              a new actor; its id is in the answer

The result goes to stdout as one line of JSON; --json wraps it: {\"id\": ..., \"result\": ...}.";

const DESTROY_USAGE: &str = "\
lethe actor destroy [OPTIONS] <NAMESPACE> <NAME>
       lethe actor destroy [OPTIONS] --id <HEX> <NAMESPACE>";

const SHOW_USAGE: &str = "\
lethe actor show [OPTIONS] <NAMESPACE> <NAME>
       lethe actor show [OPTIONS] --id <HEX> <NAMESPACE>";

const DESTROY_EXAMPLES: &str = "\
What the actor stored becomes unreadable for good; a tombstone stays, and later calls are refused
with ActorDestroyed. Destroying an actor again is no error. Its id goes to stdout.

Examples:
  lethe actor destroy Room lobby
  lethe actor destroy Room --id 5f0c... --json";

const LIST_EXAMPLES: &str = "\
Examples:
  lethe actor list Room                    all of them, in the order of their ids
  lethe actor list Room --limit 10         the first ten
  lethe actor list Room --json             one JSON object a line";

const SHOW_EXAMPLES: &str = "\
Examples:
  lethe actor show Room lobby
  lethe actor show chat/Room --id 5f0c... --json";

/// Arguments of `lethe actor`.
#[derive(Debug, Args)]
pub struct ActorArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Call a method of an actor and print its result.
    #[command(after_help = CALL_EXAMPLES, override_usage = CALL_USAGE)]
    Call(CallArgs),
    /// Destroy an actor for good.
    #[command(after_help = DESTROY_EXAMPLES, override_usage = DESTROY_USAGE)]
    Destroy(OneArgs),
    /// List the actors of a namespace.
    #[command(after_help = LIST_EXAMPLES)]
    List(ListArgs),
    /// Show what is known of an actor, or of the tombstone it left.
    #[command(after_help = SHOW_EXAMPLES, override_usage = SHOW_USAGE)]
    Show(OneArgs),
}

/// How to reach a node, and how long to wait for it.
#[derive(Debug, Args)]
struct NodeArgs {
    #[command(flatten)]
    api: ApiArgs,
    /// Give up after this many seconds.
    #[arg(long, default_value_t = 30, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=TIMEOUT_SECS_MAX))]
    timeout: u64,
}

#[derive(Debug, Args)]
struct CallArgs {
    /// `script/Class`, or a binding or class name where only one fits.
    namespace: String,
    /// The actor's name, the method, and its arguments as JSON.
    #[arg(required = true, num_args = 1..=3, value_names = ["NAME", "METHOD", "JSON"], allow_negative_numbers = true)]
    words: Vec<String>,
    /// The actor's id, 64 hex digits, instead of its name.
    #[arg(long, value_name = "HEX", conflicts_with = "unique")]
    id: Option<String>,
    /// A new actor with a random id, instead of a name.
    #[arg(long)]
    unique: bool,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("which").required(true).args(["name", "id"])))]
struct OneArgs {
    /// `script/Class`, or a binding or class name where only one fits.
    namespace: String,
    /// The actor's name.
    name: Option<String>,
    /// The actor's id, 64 hex digits, instead of its name.
    #[arg(long, value_name = "HEX")]
    id: Option<String>,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// `script/Class`, or a binding or class name where only one fits.
    namespace: String,
    /// Only actors whose ids come after this one.
    #[arg(long, value_name = "HEX")]
    after: Option<String>,
    /// At most this many.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    #[command(flatten)]
    node: NodeArgs,
}

impl ActorArgs {
    /// Whether output, errors included, is JSON.
    pub(super) fn json(&self) -> bool {
        match &self.verb {
            Verb::Call(args) => args.node.api.json,
            Verb::Destroy(args) | Verb::Show(args) => args.node.api.json,
            Verb::List(args) => args.node.api.json,
        }
    }

    /// Does it; results go to `out`.
    pub(super) async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        match self.verb {
            Verb::Call(args) => args.run(out).await,
            Verb::Destroy(args) => {
                let id = args.actor().await?.destroy_as_operator().await?;
                if args.node.api.json {
                    writeln!(out, "{}", json!({ "id": id, "destroyed": true }))?;
                } else {
                    writeln!(out, "{id}")?;
                }
                Ok(())
            }
            Verb::List(args) => args.run(out).await,
            Verb::Show(args) => {
                let info = args.actor().await?.show().await?;
                if args.node.api.json {
                    writeln!(out, "{}", as_json(&info))?;
                } else {
                    write_lines(out, &info)?;
                }
                Ok(())
            }
        }
    }
}

impl NodeArgs {
    async fn connect(&self) -> Result<Client, lethe_client::Error> {
        self.api.connect(Duration::from_secs(self.timeout)).await
    }
}

impl CallArgs {
    async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let mut words = self.words.iter();
        let id = match (&self.id, self.unique) {
            (Some(hex), _) => Some(Id::hex(hex)),
            (None, true) => Some(Id::unique()),
            (None, false) => words.next().map(Id::name),
        };
        let (Some(id), Some(method)) = (id, words.next()) else { usage("the METHOD to call is missing") };
        let args = arguments(words.next().map(String::as_str));
        if let Some(extra) = words.next() {
            usage(&format!("there is an argument too many: {extra:?} (all of the method's go into one JSON array)"));
        }
        let reply = self.node.connect().await?.actor(&self.namespace, id).call(method, &args).await?;
        if self.node.api.json {
            writeln!(out, "{}", json!({ "id": reply.id, "result": reply.value }))?;
        } else {
            writeln!(out, "{}", reply.value)?;
        }
        Ok(())
    }
}

impl OneArgs {
    async fn actor(&self) -> anyhow::Result<lethe_client::Actor> {
        let id = match (&self.id, &self.name) {
            (Some(hex), _) => Id::hex(hex),
            (None, Some(name)) => Id::name(name),
            (None, None) => return Err(anyhow!("neither a name nor an id was given")),
        };
        Ok(self.node.connect().await?.actor(&self.namespace, id))
    }
}

impl ListArgs {
    async fn run(self, out: &mut impl Write) -> anyhow::Result<()> {
        let client = self.node.connect().await?;
        let (mut after, mut left) = (self.after, self.limit.unwrap_or(u64::MAX));
        if !self.node.api.json {
            writeln!(out, "{:<64}  {:<9}  {:<20}  NAME", "ID", "STATE", "CREATED")?;
        }
        while left > 0 {
            let page = client.list(&self.namespace, after.as_deref(), u32::try_from(left).unwrap_or(0)).await?;
            for info in &page.actors {
                if self.node.api.json {
                    writeln!(out, "{}", as_json(info))?;
                } else {
                    let (state, created) = (state(info), created_at_ms(info).map(iso_time).unwrap_or_default());
                    writeln!(out, "{}  {state:<9}  {created:<20}  {}", info.id, info.name())?;
                }
            }
            left = left.saturating_sub(page.actors.len() as u64);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// Ends the process as clap does for wrong usage.
fn usage(message: &str) -> ! {
    let mut command = Cli::command();
    command.build();
    let call = command.find_subcommand_mut("actor").and_then(|actor| actor.find_subcommand_mut("call"));
    match call {
        Some(call) => call.error(ErrorKind::ValueValidation, message).exit(),
        None => command.error(ErrorKind::ValueValidation, message).exit(),
    }
}

fn arguments(text: Option<&str>) -> Value {
    match text.map(serde_json::from_str) {
        None => json!([]),
        Some(Ok(Value::Array(args))) => Value::Array(args),
        Some(Ok(one)) => json!([one]),
        Some(Err(error)) => {
            usage(&format!("the arguments are not JSON: {error} (a string needs quotes inside quotes: '\"text\"')"))
        }
    }
}

fn state(info: &ActorInfo) -> &'static str {
    match info.state() {
        ActorState::Asleep => "asleep",
        ActorState::Awake => "awake",
        ActorState::Destroyed => "destroyed",
        ActorState::Unspecified => "unknown",
    }
}

/// Who asked for the destruction of one that is destroyed.
fn destroyed_by(info: &ActorInfo) -> Option<&'static str> {
    match info.destroyed_by() {
        DestroyedBy::Caller => Some("program"),
        DestroyedBy::Itself => Some("itself"),
        DestroyedBy::Operator => Some("operator"),
        DestroyedBy::Unspecified => None,
    }
}

/// A tombstone may not tell when its actor began.
fn created_at_ms(info: &ActorInfo) -> Option<u64> {
    Some(info.created_at_ms).filter(|&at_ms| at_ms > 0)
}

fn as_json(info: &ActorInfo) -> Value {
    json!({
        "id": info.id,
        "namespace": info.namespace,
        "name": info.name,
        "state": state(info),
        "incarnation": info.incarnation,
        "created_at_ms": created_at_ms(info),
        "destroyed_at_ms": info.destroyed_at_ms,
        "destroyed_by": destroyed_by(info),
        "group": info.group,
    })
}

fn write_lines(out: &mut impl Write, info: &ActorInfo) -> std::io::Result<()> {
    writeln!(out, "id           {}", info.id)?;
    writeln!(out, "namespace    {}", info.namespace)?;
    if let Some(name) = &info.name {
        writeln!(out, "name         {name}")?;
    }
    writeln!(out, "state        {}", state(info))?;
    writeln!(out, "incarnation  {}", info.incarnation)?;
    writeln!(out, "group        {}", info.group)?;
    if let Some(at_ms) = created_at_ms(info) {
        writeln!(out, "created      {}", iso_time(at_ms))?;
    }
    if let Some(at_ms) = info.destroyed_at_ms {
        let by = destroyed_by(info).unwrap_or("unknown");
        writeln!(out, "destroyed    {} ({by})", iso_time(at_ms))?;
    }
    Ok(())
}
