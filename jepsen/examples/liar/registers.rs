//! Registers in an append-only file, and the ways of being wrong about them.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::Write,
    path::Path,
    time::Duration,
};

use anyhow::bail;
use parking_lot::Mutex;
use rand::RngExt;
use serde_json::{Value, json};
use tokio::time::sleep;

/// Which promise is broken.
#[derive(Clone, Copy, PartialEq)]
pub enum Lie {
    /// None: what it answered survives a kill. It does not sync, so a power cut is too much for it.
    Honest,
    /// None, and it syncs.
    Durable,
    /// An answer comes before the file has the write.
    Forgetful,
    /// One read in twenty answers with the value before the last.
    Stale,
    /// The file never hears of a destruction.
    Resurrecting,
    /// Another call may come between the comparing and the setting.
    Torn,
    /// It says "not done" of a write that it does.
    Denying,
    /// It ends by itself after a while.
    Mortal,
    /// It refuses everything.
    Deaf,
    /// It answers reads with something that is no value.
    Babbling,
}

impl Lie {
    pub fn by_name(name: &str) -> anyhow::Result<Self> {
        Ok(match name {
            "honest" => Self::Honest,
            "durable" => Self::Durable,
            "forgetful" => Self::Forgetful,
            "stale" => Self::Stale,
            "resurrecting" => Self::Resurrecting,
            "torn" => Self::Torn,
            "denying" => Self::Denying,
            "mortal" => Self::Mortal,
            "deaf" => Self::Deaf,
            "babbling" => Self::Babbling,
            _ => bail!("{name} is no lie that I know"),
        })
    }
}

/// What a caller is told.
pub enum Reply {
    Value(Value),
    Destroyed,
    NotDone,
}

#[derive(Clone, Default)]
struct Register {
    held: Option<i64>,
    before: Option<i64>,
    destroyed: bool,
}

pub struct Registers {
    lie: Lie,
    inner: Mutex<Inner>,
}

struct Inner {
    registers: HashMap<String, Register>,
    file: File,
    waiting: Vec<u8>,
    calls: u32,
}

/// How late a forgetful server writes.
const FORGETFUL_FLUSH: Duration = Duration::from_millis(300);
/// Calls in the life of a mortal server.
const MORTAL_CALLS: u32 = 300;

impl Registers {
    pub fn open(dir: &Path, lie: Lie) -> anyhow::Result<Self> {
        let path = dir.join("registers.jsonl");
        let mut registers: HashMap<String, Register> = HashMap::new();
        for line in std::fs::read_to_string(&path).unwrap_or_default().lines() {
            // The last line may be torn by a kill: nobody was told of it.
            let Ok(record) = serde_json::from_str::<Value>(line) else { continue };
            let register = registers.entry(record["key"].as_str().unwrap_or("").to_string()).or_default();
            register.held = record["held"].as_i64();
            register.destroyed = record["destroyed"] == true;
        }
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.sync_all()?;
        File::open(dir)?.sync_all()?;
        let inner = Mutex::new(Inner { registers, file, waiting: Vec::new(), calls: 0 });
        Ok(Self { lie, inner })
    }

    /// Writes what a forgetful server has put off.
    pub async fn flush_forever(&self) -> anyhow::Result<()> {
        loop {
            sleep(FORGETFUL_FLUSH).await;
            let mut inner = self.inner.lock();
            let waiting = std::mem::take(&mut inner.waiting);
            inner.file.write_all(&waiting)?;
        }
    }

    pub async fn call(&self, key: &str, method: &str, args: &[i64]) -> anyhow::Result<Reply> {
        // Calls take a while on both sides, so that they overlap.
        pause().await;
        let reply = match (method, args) {
            _ if self.lie == Lie::Deaf => Reply::NotDone,
            ("cas", [expected, new]) if self.lie == Lie::Torn => {
                let seen = self.read(key);
                pause().await;
                match seen {
                    Reply::Value(seen) if seen == json!(expected) => {
                        self.change(key, *new);
                        Reply::Value(json!({"swapped": true, "seen": seen}))
                    }
                    Reply::Value(seen) => Reply::Value(json!({"swapped": false, "seen": seen})),
                    other => other,
                }
            }
            ("read", []) => self.read(key),
            ("write", [new]) => match self.change(key, *new) {
                Reply::Value(_) if self.lie == Lie::Denying && new % 20 == 0 => Reply::NotDone,
                reply => reply,
            },
            ("cas", [expected, new]) => self.swap(key, *expected, *new),
            ("destroy", []) => self.destroy(key),
            _ => bail!("{method} with {} arguments", args.len()),
        };
        pause().await;
        Ok(reply)
    }

    fn read(&self, key: &str) -> Reply {
        let mut inner = self.inner.lock();
        inner.calls += 1;
        if self.lie == Lie::Mortal && inner.calls > MORTAL_CALLS {
            std::process::exit(7);
        }
        let register = inner.registers.entry(key.into()).or_default();
        let stale = self.lie == Lie::Stale && rand::rng().random_ratio(1, 20);
        match register {
            Register { destroyed: true, .. } => Reply::Destroyed,
            _ if self.lie == Lie::Babbling => Reply::Value(json!("banana")),
            Register { before, .. } if stale => Reply::Value(json!(before)),
            Register { held, .. } => Reply::Value(json!(held)),
        }
    }

    fn change(&self, key: &str, new: i64) -> Reply {
        let mut inner = self.inner.lock();
        if self.set(&mut inner, key, new) { Reply::Value(json!(new)) } else { Reply::Destroyed }
    }

    fn swap(&self, key: &str, expected: i64, new: i64) -> Reply {
        let mut inner = self.inner.lock();
        let register = inner.registers.entry(key.into()).or_default().clone();
        let swapped = register.held == Some(expected);
        if register.destroyed || (swapped && !self.set(&mut inner, key, new)) {
            return Reply::Destroyed;
        }
        Reply::Value(json!({"swapped": swapped, "seen": register.held}))
    }

    fn destroy(&self, key: &str) -> Reply {
        let mut inner = self.inner.lock();
        inner.registers.entry(key.into()).or_default().destroyed = true;
        if self.lie != Lie::Resurrecting {
            self.write(&mut inner, &json!({"key": key, "destroyed": true}));
        }
        Reply::Value(Value::Null)
    }

    fn set(&self, inner: &mut Inner, key: &str, new: i64) -> bool {
        let register = inner.registers.entry(key.into()).or_default();
        if register.destroyed {
            return false;
        }
        (register.before, register.held) = (register.held, Some(new));
        self.write(inner, &json!({"key": key, "held": new}));
        true
    }

    /// A server whose disk failed can promise nothing more: it ends.
    fn write(&self, inner: &mut Inner, record: &Value) {
        let line = format!("{record}\n");
        let written = match self.lie {
            Lie::Forgetful => {
                inner.waiting.extend_from_slice(line.as_bytes());
                Ok(())
            }
            Lie::Durable => inner.file.write_all(line.as_bytes()).and_then(|()| inner.file.sync_data()),
            _ => inner.file.write_all(line.as_bytes()),
        };
        if let Err(error) = written {
            eprintln!("{error}");
            std::process::exit(1);
        }
    }
}

async fn pause() {
    let pause = Duration::from_micros(rand::rng().random_range(500..4_000));
    sleep(pause).await;
}
