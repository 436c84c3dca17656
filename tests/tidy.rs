//! House rules over the whole tree: size, headers, layers, banned words. `cargo test -p lethe-tests --test tidy`.
//!
//! A rule is a function from a file to complaints, and each rule is tested on a sample that it must refuse: a rule
//! that cannot fail keeps nothing tidy. There is no list of exceptions; a file that breaks a rule is changed.

#[path = "tidy/layers.rs"]
mod layers;
#[path = "tidy/rules.rs"]
mod rules;
#[path = "tidy/source.rs"]
mod source;

use source::File;

/// A rule names what is wrong with one file, one line each.
type Rule = fn(&File) -> Vec<String>;

const RULES: [(&str, Rule); 12] = [
    ("a file has at most 600 lines", rules::file_length),
    ("a function has at most 70 lines", rules::function_length),
    ("a file opens by saying what it is", rules::header),
    ("a file is named after what it holds", rules::file_name),
    ("unsafe code lives in few places and says why it is sound", rules::unsafe_code),
    ("the wall clock is read in one place", rules::wall_clock),
    ("nothing is left to be done", rules::unfinished),
    ("no test is skipped and none sleeps", rules::tests_that_lie),
    ("nothing names the machine it was written on", rules::machine_paths),
    ("a room uses only the rooms below it", layers::rooms),
    ("a big library is named in one room only", layers::owners),
    ("a crate depends only on the crates below it", layers::crates),
];

/// Complaints about one file, each with the rule it breaks.
fn complaints(file: &File) -> Vec<String> {
    let of_rule = |(name, rule): &(&str, Rule)| {
        let complaint = |what: String| format!("{}: {what} ({name})", file.path);
        rule(file).into_iter().map(complaint).collect::<Vec<_>>()
    };
    RULES.iter().flat_map(of_rule).collect()
}

#[test]
fn the_tree_keeps_the_house_rules() {
    let files = source::tree();
    assert!(files.len() > 20, "only {} files found: the walk is broken", files.len());
    let complaints: Vec<String> = files.iter().flat_map(complaints).collect();
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
}

/// Samples that must be refused, with words that the complaint must have.
fn bad_samples() -> Vec<(&'static str, String, &'static str)> {
    let header = "//! Doc.\n";
    let rust = |code: &str| format!("{header}{code}\n");
    let long_function = format!("fn f() {{\n{}}}", "    g();\n".repeat(70));
    vec![
        ("client/src/a.rs", rust(&"fn f() {}\n".repeat(599)), "601 lines"),
        ("examples/a/b.js", "// x\n".repeat(601), "601 lines"),
        ("client/src/a.rs", rust(&long_function), "fn f has 72 lines"),
        ("client/src/a.rs", "fn f() {}\n".into(), "does not open with //!"),
        ("client/build.rs", "// Doc.\nfn main() {}\n".into(), "does not open with //!"),
        ("examples/a/b.js", "let a;\n".into(), "does not open with a comment"),
        ("client/src/utils.rs", rust(""), "`utils` says nothing"),
        ("server/src/actor/common/mod.rs", rust(""), "`common` says nothing"),
        ("client/src/a.rs", rust("// SAFETY: fine.\nunsafe { f() }"), "line 3: unsafe outside"),
        ("runtime/src/a.rs", rust("unsafe { f() }"), "line 2: unsafe without SAFETY"),
        ("runtime/src/a.rs", rust("fn f() { SystemTime::now(); }"), "line 2: SystemTime::now"),
        ("runtime/src/a.rs", rust("fn f() { todo!() }"), "line 2: todo!"),
        ("runtime/src/a.rs", rust("fn f() { unimplemented!(\"x\") }"), "line 2: unimplemented!"),
        ("runtime/src/a.rs", rust(concat!("// FIX", "ME later")), concat!("line 2: FIX", "ME")),
        ("runtime/src/a.rs", rust("fn f() { dbg!(1) }"), "line 2: dbg!"),
        ("runtime/src/a.rs", rust("#[allow(dead_code)]\nfn f() {}"), "line 2: allow(dead_code)"),
        ("tests/a.rs", rust("#[ignore]\nfn f() {}"), "line 2: #[ignore"),
        ("client/src/a.rs", rust("#[cfg(test)]\nmod tests { fn f() { thread::sleep(d) } }"), "line 3: thread::sleep"),
        ("tests/a.rs", rust("fn f() { std::thread::sleep(d) }"), "line 2: thread::sleep"),
        ("README.md", concat!("see /Us", "ers/someone/x\n").into(), "line 1: names a place on one machine"),
        ("server/src/store/log.rs", rust("use crate::shard::Shard;"), "`store` uses `shard`"),
        (
            "server/src/actor/mod.rs",
            rust("use crate::{\n    actor::A,\n    routing::{B, C},\n};"),
            "`actor` uses `routing`",
        ),
        ("server/src/vault/mod.rs", rust("fn f(x: super::shard::X) {}"), "`vault` uses `shard`"),
        ("server/src/vault/seal.rs", rust("use super::super::{actor::A, store::B};"), "`vault` uses `actor`"),
        ("server/src/grpc/mod.rs", rust("use crate::gateway::X;"), "`grpc` uses `gateway`"),
        ("server/src/store/mod.rs", rust("use crate::cli;"), "`store` uses `cli`"),
        ("server/src/gateway/mod.rs", rust("use crate::worker::W;"), "`gateway` uses `worker`"),
        ("server/src/clock.rs", rust("use crate::store::Log;"), "`clock` uses `store`"),
        ("server/src/store/mod.rs", rust("use openraft::Vote;"), "names openraft"),
        ("server/src/shard/mod.rs", rust("fn f(db: lsm_tree::Tree) {}"), "names lsm_tree"),
        ("server/src/store/mod.rs", rust("use chacha20poly1305 as c;"), "names chacha20poly1305"),
        ("server/src/actor/mod.rs", rust("fn f(s: &mut v8::HandleScope) {}"), "names v8"),
        ("runtime/Cargo.toml", "[dependencies]\nlethe-server.workspace = true\n".into(), "depends on lethe-server"),
        (
            "proto/Cargo.toml",
            "[dependencies]\nlethe-client = { path = \"../client\" }\n".into(),
            "depends on lethe-client",
        ),
        ("jepsen/Cargo.toml", "[dependencies]\nlethe-server.workspace = true\n".into(), "depends on lethe-server"),
    ]
}

#[test]
fn each_rule_refuses_its_bad_samples_and_only_one_rule_does() {
    for (path, text, expected) in bad_samples() {
        let found = complaints(&File::new(path, text.clone()));
        assert_eq!(found.len(), 1, "{path} {text:?}: {found:?}");
        assert!(found[0].contains(expected), "{expected:?} is not in {:?}", found[0]);
    }
}

#[test]
fn every_rule_has_a_bad_sample() {
    let samples: Vec<String> =
        bad_samples().into_iter().flat_map(|(path, text, _)| complaints(&File::new(path, text))).collect();
    for (name, _) in RULES {
        assert!(samples.iter().any(|complaint| complaint.contains(name)), "no sample breaks: {name}");
    }
}

#[test]
fn tidy_samples_pass() {
    let samples = [
        ("runtime/src/a.rs", "//! Doc.\n// SAFETY: the pointer is ours.\nlet x = unsafe { f() };\n"),
        ("runtime/src/a.rs", "//! Doc.\n/// # Safety\n/// Only once.\npub unsafe fn f() {}\n"),
        ("runtime/src/a.rs", "//! Doc.\nconst S: &str = \"todo! unsafe SystemTime::now\"; // unsafe is a word here\n"),
        ("client/src/a.rs", "//! Doc.\nfn f(g: unsafe extern \"C\" fn(u8), h: unsafe fn (u8)) {}\n"),
        ("server/src/worker/mod.rs", "//! Doc.\nuse crate::{actor, gateway, journal};\n"),
        ("runtime/js/a.js", "\"use strict\";\n// What it is.\n"),
        ("server/src/store/lock.rs", "//! Doc.\nfn wait() { thread::sleep(POLL) }\n#[cfg(test)]\nmod tests {}\n"),
        ("server/src/clock.rs", "//! Doc.\nfn now() { SystemTime::now() }\n"),
        ("server/src/actor/mod.rs", "//! Doc.\nuse crate::{shard::S, store::{self, X}, vault};\nuse super::vault;\n"),
        ("server/src/actor/store.rs", "//! Doc.\nuse super::routing_table; use super::gate;\n"),
        ("server/src/node.rs", "//! Doc.\nuse crate::{gateway, grpc, store};\n"),
        ("server/src/grpc/mod.rs", "//! Doc.\nlet reply = Reply { v8: bytes, lsm_tree: 1 };\n"),
        ("runtime/src/crypto.rs", "//! Doc.\nuse aes_gcm::Aes256Gcm;\n"),
        ("client/Cargo.toml", "[dependencies]\nlethe-proto.workspace = true\n"),
        ("server/src/shard/mod.rs", "//! Doc.\nuse openraft::Raft;\nuse crate::{store::Log, vault::Key};\n"),
    ];
    for (path, text) in samples {
        assert_eq!(complaints(&File::new(path, text.into())), [""; 0], "{path}");
    }
}
