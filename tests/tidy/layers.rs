//! Rules about who may know whom: rooms of the server, owners of big libraries, crates.

use crate::{
    rules::{is_word, words},
    source::File,
};

/// Rooms of the server, from the top. A room uses only rooms of later lines; rooms of one line do not know each other.
const ROOMS: [&[&str]; 14] = [
    &["worker"],
    &["gateway", "grpc"],
    &["routing"],
    &["actor"],
    &["deploy"],
    &["cluster"],
    &["egress"],
    &["shard"],
    &["vault"],
    &["peer"],
    &["store"],
    &["journal"],
    &["clock"],
    &["lies"],
];

/// What stands above all rooms and may be used by none of them.
const ABOVE: [&str; 3] = ["main", "node", "cli"];

/// Libraries that may be named below these paths only.
const OWNERS: [(&str, &[&str]); 6] = [
    ("openraft", &["server/src/shard/"]),
    ("lsm_tree", &["server/src/store/"]),
    ("chacha20poly1305", &["server/src/vault/", "runtime/"]),
    ("aes_gcm", &["server/src/vault/", "runtime/"]),
    ("v8", &["runtime/"]),
    ("x25519_dalek", &["server/src/vault/"]),
];

/// Crates of ours that a crate may depend on.
const CRATES: [(&str, &[&str]); 6] = [
    ("proto", &[]),
    ("runtime", &[]),
    ("client", &["lethe-proto"]),
    ("server", &["lethe-proto", "lethe-runtime", "lethe-client"]),
    ("tests", &["lethe-proto", "lethe-client"]),
    ("jepsen", &["lethe-proto", "lethe-client", "lethe-tests"]),
];

fn level(room: &str) -> Option<usize> {
    ROOMS.iter().position(|rooms| rooms.contains(&room))
}

/// The room a file belongs to, and how many `super` lead from its top level to the crate's root.
fn place(path: &str) -> Option<(&str, usize)> {
    let inner = path.strip_prefix("server/src/")?;
    let mut parts = inner.split('/');
    let room = parts.next()?.trim_end_matches(".rs");
    let folders = inner.matches('/').count();
    let depth = folders + usize::from(folders == 0 || !inner.ends_with("/mod.rs"));
    level(room).map(|_| (room, depth))
}

pub fn rooms(file: &File) -> Vec<String> {
    let Some((room, depth)) = place(&file.path) else { return Vec::new() };
    let own = level(room);
    let mut used: Vec<String> = words(&file.code, "crate").flat_map(|at| heads(&file.code[at + 5..])).collect();
    let root = "super::".repeat(depth);
    for (at, _) in file.code.match_indices(&root) {
        // Not a part of a longer chain: those are found from their own beginning.
        if !file.code[..at].ends_with("super::") {
            used.extend(heads(&file.code[at + root.len() - 2..]));
        }
    }
    used.sort();
    used.dedup();
    let forbidden = |other: &String| {
        other != room && (ABOVE.contains(&other.as_str()) || level(other).is_some_and(|level| Some(level) <= own))
    };
    used.iter().filter(|other| forbidden(other)).map(|other| format!("`{room}` uses `{other}`")).collect()
}

/// First names after a path's `::`: one name, or those at the top of a `{...}` list.
fn heads(rest: &str) -> Vec<String> {
    let Some(rest) = rest.trim_start().strip_prefix("::") else { return Vec::new() };
    let rest = rest.trim_start();
    let Some(list) = rest.strip_prefix('{') else { return vec![word(rest)] };
    let (mut depth, mut names, mut fresh) = (0, Vec::new(), true);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if is_word(c) && fresh && depth == 0 => {
                names.push(word(&list[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

fn word(text: &str) -> String {
    text.chars().take_while(|c| is_word(*c)).collect()
}

pub fn owners(file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    for (library, places) in OWNERS {
        if places.iter().any(|place| file.path.starts_with(place)) {
            continue;
        }
        let names = |at: &usize| {
            let (before, after) = (file.code[..*at].trim_end(), file.code[at + library.len()..].trim_start());
            !before.ends_with("::") && (after.starts_with("::") || before.ends_with("use"))
        };
        if let Some(at) = words(&file.code, library).find(names) {
            complaints.push(format!("line {}: names {library}", file.line(at)));
        }
    }
    complaints
}

pub fn crates(file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, allowed) in CRATES {
        if file.path != format!("{name}/Cargo.toml") {
            continue;
        }
        for line in file.text.lines().filter(|line| line.starts_with("lethe-")) {
            let dependency: String = line.chars().take_while(|c| is_word(*c) || *c == '-').collect();
            if !allowed.contains(&dependency.as_str()) {
                complaints.push(format!("depends on {dependency}"));
            }
        }
    }
    complaints
}
