//! `lethe cluster init | add | join` from outside: which files they make, and what they refuse.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

/// Machines are directories; each has a `lethe.toml` and its data beside it.
struct World(TempDir);

impl World {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn dir(&self, machine: &str) -> PathBuf {
        self.0.path().join(machine)
    }

    /// Makes a machine. Further lines of its configuration stand at the end.
    fn machine(&self, machine: &str, address: &str, further: &str) {
        let dir = self.dir(machine);
        fs::create_dir(&dir).unwrap();
        let text = format!("data_dir = \"data\"\n[peer]\nadvertise = \"{address}\"\n{further}");
        fs::write(dir.join("lethe.toml"), text).unwrap();
    }

    /// Runs `lethe cluster VERB --config ...`, or `lethe serve`, on a machine: exit code, stdout, stderr.
    fn run(&self, machine: &str, verb: &str, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_lethe"))
            .current_dir(self.0.path())
            .args(if verb == "serve" { &[][..] } else { &["cluster"] })
            .args([verb, "--config"])
            .arg(self.dir(machine).join("lethe.toml"))
            .args(args)
            .env_remove("LETHE_LOG")
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// The JSON that a command prints when it is done.
    fn done(&self, machine: &str, verb: &str, args: &[&str]) -> Value {
        let (code, stdout, stderr) = self.run(machine, verb, &[args, &["--json"]].concat());
        assert_eq!((code, stderr.as_str()), (0, ""), "{machine} {verb}");
        serde_json::from_str(&stdout).unwrap()
    }

    /// Why a command is refused.
    fn refused(&self, machine: &str, verb: &str, args: &[&str]) -> String {
        let (code, stdout, stderr) = self.run(machine, verb, args);
        assert_eq!((code, stdout.as_str()), (1, ""), "{machine} {verb}: {stderr}");
        stderr
    }
}

/// Files below a directory, and who may read them.
fn files(dir: &Path) -> Vec<(String, u32)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => {
                    let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
                    found.push((path.strip_prefix(dir).unwrap().display().to_string(), mode));
                }
            }
        }
    }
    found.sort();
    found
}

#[test]
fn a_cluster_of_two_is_made_as_files_that_only_the_owner_reads() {
    let world = World::new();
    world.machine("a", "10.0.0.1:7071", "");
    world.machine("b", "10.0.0.2:7071", "");
    let first = world.done("a", "init", &["--groups", "16"]);
    let added = world.done("a", "add", &["n2", "--out", "n2.join"]);
    let joined = world.done("b", "join", &["n2.join"]);
    assert_eq!((&added["cluster"], &added["node"]), (&first["cluster"], &joined["node"]));
    assert_ne!(first["node"], joined["node"]);

    let private: Vec<_> = files(&world.dir("a").join("data")).into_iter().filter(|(name, _)| name != "node").collect();
    let expected = ["birth.json", "tls/ca-key.pem", "tls/ca.pem", "tls/node-key.pem", "tls/node.pem"];
    assert_eq!(private, expected.map(|name| (name.to_owned(), 0o600)));
    let private: Vec<_> = files(&world.dir("b").join("data")).into_iter().filter(|(name, _)| name != "node").collect();
    let expected = ["birth.json", "tls/ca.pem", "tls/node-key.pem", "tls/node.pem"];
    assert_eq!(private, expected.map(|name| (name.to_owned(), 0o600)));
    let mode = fs::metadata(world.0.path().join("n2.join")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);

    let identity = fs::read_to_string(world.dir("b").join("data/node")).unwrap();
    let (cluster, node) = (first["cluster"].as_str().unwrap(), joined["node"].as_str().unwrap());
    assert!(identity.contains(&format!("cluster {cluster}\nnode {node}\ngroups 16\nlife none\n")), "{identity}");
    let birth: Value = serde_json::from_slice(&fs::read(world.dir("b").join("data/birth.json")).unwrap()).unwrap();
    assert_eq!(birth["by"]["join"]["addresses"], serde_json::json!(["10.0.0.1:7071"]));
    assert_eq!(birth["name"], "n2");
}

#[test]
fn a_data_directory_belongs_to_one_node_for_good() {
    let world = World::new();
    world.machine("a", "10.0.0.1:7071", "");
    world.machine("b", "10.0.0.2:7071", "");
    let (first, other) = (world.done("a", "init", &[]), world.done("b", "init", &[]));
    world.done("a", "add", &["n2", "--out", "n2.join"]);
    let before = files(&world.0.path().join("b"));
    for (verb, args) in [("init", &[][..]), ("join", &["n2.join"])] {
        let refused = world.refused("b", verb, args);
        let (node, cluster) = (other["node"].as_str().unwrap(), other["cluster"].as_str().unwrap());
        assert!(refused.contains(&format!("belongs to node {node} of cluster {cluster} already")), "{refused}");
    }
    assert_eq!(files(&world.0.path().join("b")), before);
    assert_ne!(first["cluster"], other["cluster"]);
}

#[test]
fn only_the_machine_with_the_authority_adds_nodes_and_never_over_a_file() {
    let world = World::new();
    world.machine("a", "10.0.0.1:7071", "");
    world.machine("b", "10.0.0.2:7071", "");
    assert!(world.refused("a", "add", &["n2", "--out", "n2.join"]).contains("is no node of a cluster"));
    world.done("a", "init", &[]);
    assert!(world.refused("a", "add", &["two words", "--out", "n2.join"]).contains("a node's name has"));
    world.done("a", "add", &["n2", "--out", "n2.join"]);
    assert!(world.refused("a", "add", &["n3", "--out", "n2.join"]).contains("n2.join exists already"));
    world.done("b", "join", &["n2.join"]);
    let refused = world.refused("b", "add", &["n3", "--out", "n3.join"]);
    assert!(refused.contains("ca-key.pem is not here: run this where `lethe cluster init` was run"), "{refused}");
    assert!(!world.0.path().join("n3.join").exists());
}

#[test]
fn a_join_that_broke_off_before_the_identity_is_done_again_with_the_same_file_only() {
    let world = World::new();
    world.machine("a", "10.0.0.1:7071", "");
    world.machine("b", "10.0.0.2:7071", "");
    world.done("a", "init", &[]);
    world.done("a", "add", &["n2", "--out", "n2.join"]);
    world.done("a", "add", &["n3", "--out", "n3.join"]);
    let first = world.done("b", "join", &["n2.join"]);
    fs::remove_file(world.dir("b").join("data/node")).unwrap();
    fs::remove_file(world.dir("b").join("data/birth.json")).unwrap();
    let refused = world.refused("b", "join", &["n3.join"]);
    assert!(refused.contains("node.pem exists already and is not overwritten"), "{refused}");
    assert_eq!(world.done("b", "join", &["n2.join"]), first);
}

#[test]
fn an_init_never_takes_over_what_it_finds() {
    let world = World::new();
    world.machine("a", "10.0.0.1:7071", "");
    let data = world.dir("a").join("data");
    fs::create_dir_all(data.join("tls")).unwrap();
    fs::write(data.join("tls/ca.pem"), "another").unwrap();
    let refused = world.refused("a", "init", &[]);
    assert!(refused.contains("ca.pem exists already: a new cluster needs an empty tls directory"), "{refused}");
    fs::remove_file(data.join("tls/ca.pem")).unwrap();
    fs::create_dir(data.join("wal")).unwrap();
    let refused = world.refused("a", "init", &[]);
    assert!(refused.contains("holds data of a node whose identity is lost (`wal`)"), "{refused}");
    assert!(!data.join("node").exists());
}

#[test]
fn a_plain_text_cluster_is_said_to_be_one_on_both_sides() {
    let world = World::new();
    world.machine("a", "10.0.0.1:7071", "[tls]\ninsecure = true\n");
    world.machine("b", "10.0.0.2:7071", "");
    world.machine("c", "10.0.0.3:7071", "[tls]\ninsecure = true\n");
    world.machine("d", "10.0.0.4:7071", "");
    world.done("a", "init", &[]);
    world.done("a", "add", &["n2", "--out", "plain.join"]);
    let refused = world.refused("b", "join", &["plain.join"]);
    assert!(refused.contains("this node needs `tls.insecure = true`"), "{refused}");
    world.done("d", "init", &[]);
    world.done("d", "add", &["n2", "--out", "tls.join"]);
    let refused = world.refused("c", "join", &["tls.join"]);
    assert!(refused.contains("the cluster of this join file uses certificates"), "{refused}");
    world.done("c", "join", &["plain.join"]);
    assert_eq!(
        files(&world.dir("c").join("data")).iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["birth.json", "node"]
    );
}

#[test]
fn the_effective_configuration_can_be_printed_and_is_a_configuration() {
    let world = World::new();
    world.machine("a", "10.0.0.1:7071", "[raft]\nheartbeat_ms = 123\n");
    let (code, printed, _) = world.run("a", "serve", &["--print-config"]);
    assert_eq!(code, 0);
    let data = world.dir("a").join("data");
    for line in ["heartbeat_ms = 123", "election_min_ms = 400", &format!("data_dir = \"{}\"", data.display())] {
        assert!(printed.lines().any(|printed| printed == line), "{line}: {printed}");
    }
    fs::write(world.dir("a").join("lethe.toml"), &printed).unwrap();
    assert_eq!(world.run("a", "serve", &["--print-config"]), (0, printed, String::new()));
    assert!(!data.exists(), "printing makes nothing");
}

#[test]
fn the_effective_configuration_has_what_the_data_directory_knows() {
    let world = World::new();
    world.machine("a", "10.0.0.1:7071", "");
    world.machine("b", "10.0.0.2:7071", "[http]\nlisten = \"127.0.0.1:0\"\n");
    world.done("a", "init", &[]);
    world.done("a", "add", &["n2", "--out", "n2.join"]);
    world.done("b", "join", &["n2.join"]);
    let (code, printed, _) = world.run("b", "serve", &["--print-config"]);
    assert_eq!(code, 0);
    let keys: toml::Table = printed.parse().unwrap();
    let text = |value: &str| toml::Value::from(value);
    assert_eq!((&keys["name"], &keys["join"]), (&text("n2"), &toml::Value::from(vec!["10.0.0.1:7071"])));
    assert_eq!(keys["tls"]["dir"], text(world.dir("b").join("data/tls").to_str().unwrap()));
    assert_eq!(
        (&keys["peer"]["advertise"], &keys["grpc"]["advertise"]),
        (&text("10.0.0.2:7071"), &text("127.0.0.1:7070"))
    );
    assert_eq!(keys["http"].get("advertise"), None, "the system chooses its port");
    fs::write(world.dir("b").join("lethe.toml"), &printed).unwrap();
    assert_eq!(world.run("b", "serve", &["--print-config"]), (0, printed, String::new()));
}

#[test]
fn a_node_is_not_served_before_it_is_made_nor_with_another_ones_certificate() {
    let world = World::new();
    world.machine(
        "a",
        "127.0.0.1:7071",
        "listen = \"127.0.0.1:0\"\n[http]\nlisten = \"127.0.0.1:0\"\n[grpc]\nlisten = \"127.0.0.1:0\"\n",
    );
    let refused = world.refused("a", "serve", &[]);
    assert!(refused.contains("is no node of a cluster: make it with `lethe cluster init` or"), "{refused}");
    world.done("a", "init", &[]);
    world.machine("b", "127.0.0.1:7072", "");
    world.done("b", "init", &[]);
    for file in ["ca.pem", "node.pem", "node-key.pem"] {
        fs::copy(world.dir("b").join("data/tls").join(file), world.dir("a").join("data/tls").join(file)).unwrap();
    }
    let refused = world.refused("a", "serve", &[]);
    assert!(refused.contains("node.pem") && refused.contains("this is node"), "{refused}");
    fs::remove_file(world.dir("a").join("data/birth.json")).unwrap();
    assert!(world.refused("a", "serve", &[]).contains("cannot read"));
}
