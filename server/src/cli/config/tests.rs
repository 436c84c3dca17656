//! The configuration file: everything round-trips, everything wrong is told with its line.

use std::path::{Path, PathBuf};

use super::{
    Settings, example, help,
    table::{self, Slot},
};

const MINIMAL: &str = "[peer]\nadvertise = \"10.0.0.1:7071\"\n";

fn parse(text: &str) -> Result<Settings, String> {
    Settings::parse("lethe.toml", text, Path::new("/etc/lethe")).map_err(|error| error.to_string())
}

fn error_of(text: &str) -> String {
    parse(text).expect_err(text)
}

#[test]
fn what_is_not_in_the_file_has_its_default() {
    let settings = parse(MINIMAL).unwrap();
    let mut expected = Settings { peer_advertise: Some("10.0.0.1:7071".into()), ..Settings::default() };
    assert_eq!(settings.print(), expected.print());
    expected.join.push("10.0.0.2:7071".into());
    assert_ne!(settings.print(), expected.print());
}

#[test]
fn every_key_can_be_set_and_the_effective_file_reads_back_the_same() {
    // The example gives every key that has a default; those that have none are its comments.
    let text: String = example()
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_assignment(rest)).unwrap_or(line).to_owned() + "\n")
        .collect();
    let settings = parse(&text).unwrap();
    let printed = settings.print();
    for key in table::all() {
        let lines = printed.lines().filter(|line| line.starts_with(&format!("{} = ", key.name))).count();
        let expected = table::all().filter(|other| other.name == key.name).count();
        assert_eq!(lines, expected, "{}", key.path());
    }
    assert_eq!(parse(&printed).unwrap().print(), printed);
}

fn is_assignment(line: &str) -> bool {
    line.split_once(" = ").is_some_and(|(name, _)| table::all().any(|key| key.name == name))
}

#[test]
fn every_number_of_the_file_reaches_its_own_place() {
    let mut default = Settings { peer_advertise: Some("h:1".into()), ..Settings::default() };
    for key in table::all() {
        let number = match (key.slot)(&mut default) {
            Slot::U32(number) => u64::from(*number),
            Slot::U64(number) => *number,
            Slot::Usize(number) => *number as u64,
            Slot::Ms(duration) => duration.as_millis() as u64,
            _ => continue,
        };
        assert!((key.range.0..=key.range.1).contains(&number), "{}: the default {number} is forbidden", key.path());
        let (section, name) = (key.section, key.name);
        // What several keys say together allows one of these.
        let changed = [number + 1, number - 1, number + 4096].into_iter().find_map(|value| {
            let line = format!("{name} = {value}\n");
            let text = match section {
                "peer" => format!("{MINIMAL}{line}"),
                _ => format!("[{section}]\n{line}{MINIMAL}"),
            };
            parse(&text.replace("10.0.0.1:7071", "h:1")).ok()
        });
        let changed = changed.unwrap_or_else(|| panic!("{} cannot be changed", key.path())).print();
        let before = default.print();
        let differing = changed.lines().zip(before.lines()).filter(|(now, before)| now != before).collect::<Vec<_>>();
        assert_eq!(differing.len(), 1, "{}: {differing:?}", key.path());
        assert!(differing[0].0.starts_with(&format!("{name} = ")), "{}: {differing:?}", key.path());
    }
}

#[test]
fn the_committed_example_is_the_one_the_table_makes() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/lethe.toml");
    if std::env::var_os("LETHE_UPDATE_EXAMPLE").is_some() {
        std::fs::write(&committed, example()).unwrap();
    }
    let text = std::fs::read_to_string(committed).unwrap();
    assert!(text == example(), "docs/lethe.toml is stale: run this test with LETHE_UPDATE_EXAMPLE=1");
    parse(&text).unwrap();
}

#[test]
fn the_help_names_every_key_and_fits_a_terminal() {
    let help = help();
    for key in table::all() {
        assert!(help.contains(&format!("  {}", key.path())) && help.contains(key.doc), "{}", key.path());
    }
    let long: Vec<_> = help.lines().filter(|line| line.chars().count() > 100).collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn relative_paths_are_relative_to_the_file() {
    let text = format!("data_dir = \"data\"\n{MINIMAL}[http]\ntls_cert = \"/c.pem\"\ntls_key = \"keys/k.pem\"\n");
    let settings = parse(&text).unwrap();
    assert_eq!(settings.data_dir, PathBuf::from("/etc/lethe/data"));
    assert_eq!(settings.tls_dir(), PathBuf::from("/etc/lethe/data/tls"));
    let tls = settings.http_tls().unwrap();
    assert_eq!(tls.cert_pem_path, PathBuf::from("/c.pem"));
    assert_eq!(tls.key_pem_path, PathBuf::from("/etc/lethe/keys/k.pem"));
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_a_hint() {
    let table = [
        ("name = \"n1\"\nlogs = 3", "lethe.toml:2: unknown key `logs` (did you mean `log`?)"),
        ("\n\n[http]\nlisen = \"0.0.0.0:1\"", "lethe.toml:4: unknown key `http.lisen` (did you mean `listen`?)"),
        ("heartbeat_ms = 100", "lethe.toml:1: unknown key `heartbeat_ms` (did you mean `raft.heartbeat_ms`?)"),
        ("[zebra]\nx = 1", "lethe.toml:1: unknown key `zebra`"),
        ("http = 3", "lethe.toml:1: `http` is a section: write [http]"),
        ("name = 3", "lethe.toml:1: `name` must be a string, not 3"),
        ("name = \"a b\"", "lethe.toml:1: `name` must be 1 to 63 letters, digits, `-`, `_` or `.`, not \"a b\""),
        ("data_dir = \"\"", "lethe.toml:1: `data_dir` must be a path"),
        ("join = \"10.0.0.1:1\"", "`join` must be a list of host:port like [\"10.0.0.1:7071\"], not the string"),
        ("join = [\"10.0.0.1\"]", "lethe.toml:1: `join` must be host:port like \"10.0.0.1:7071\", not \"10.0.0.1\""),
        ("[peer]\nadvertise = \"10.0.0.1:0\"", "lethe.toml:2: `peer.advertise` must be host:port"),
        ("[grpc]\nlisten = \"localhost:1\"", "lethe.toml:2: `grpc.listen` must be address:port"),
        ("[tls]\ninsecure = \"yes\"", "lethe.toml:2: `tls.insecure` must be true or false, not the string \"yes\""),
        ("[raft]\nheartbeat_ms = 1", "`raft.heartbeat_ms` must be a whole number from 10 to 60000, not 1"),
        ("[raft]\nheartbeat_ms = -1", "`raft.heartbeat_ms` must be a whole number from 10 to 60000, not -1"),
        ("[raft]\nheartbeat_ms = 1.5", "`raft.heartbeat_ms` must be a whole number from 10 to 60000, not 1.5"),
        ("[raft]\n\nelection_min_ms = 200", "lethe.toml:3: `raft.election_min_ms` must be at least twice"),
        ("[raft]\nelection_max_ms = 400", "lethe.toml:2: `raft.election_max_ms` must be above"),
        ("[cluster]\nsilent_ms = 500", "lethe.toml:2: `cluster.silent_ms` must be at least twice `cluster.pulse_ms`"),
        ("[cluster]\ndead_ms = 2999", "lethe.toml:2: `cluster.dead_ms` must not be below `cluster.silent_ms`"),
        ("[log]\nsegment_bytes = 2147483649", "must be a whole number from 67108864 to 2147483648, not 2147483649"),
        ("[log]\n\nsegment_bytes = 67108865", "lethe.toml:3: `log.segment_bytes` must be a multiple of 4096"),
        ("[http]\ntls_cert = \"c\"", "lethe.toml:2: `http.tls_cert` is given without `http.tls_key`"),
        ("[http]\ntls_key = \"c\"", "lethe.toml:2: `http.tls_key` is given without `http.tls_cert`"),
        ("name = \"a\"\nname = \"b\"", "lethe.toml:2: not valid TOML: duplicate key"),
        ("name = ", "lethe.toml:1: not valid TOML: "),
        (
            "[http]\nlisten = \"0.0.0.0:1\"\n[peer]\n\nlisten = \"0.0.0.0:2\"",
            "lethe.toml:5: `peer.advertise` is missing",
        ),
        ("name = \"n1\"\n[peer]", "lethe.toml:2: `peer.advertise` is missing"),
        ("name = \"n1\"", "`peer.advertise` is missing: other nodes cannot reach an address like 0.0.0.0"),
    ];
    for (text, expected) in table {
        let error = error_of(text);
        assert!(error.contains(expected), "{text:?}: {error}");
    }
}

#[test]
fn addresses_of_both_families_and_names_are_taken() {
    for host in ["10.0.0.1:7071", "[::1]:7071", "node-1.example:7071"] {
        let settings = parse(&format!("join = [\"{host}\"]\n[peer]\nadvertise = \"{host}\"\n")).unwrap();
        assert_eq!(settings.join, [host]);
        assert_eq!(settings.peer_advertise("127.0.0.1:1".parse().unwrap()), host);
    }
    for host in ["", ":1", "a:", "a b:1", "::1:7071", "[::1:7071", "[x]:1", "http://a:1", "a:70000"] {
        let error = error_of(&format!("join = [\"{host}\"]"));
        assert!(error.contains("must be host:port"), "{host}: {error}");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Settings::load(Path::new("/nowhere/lethe.toml")).unwrap_err().to_string();
    assert!(error.starts_with("cannot read /nowhere/lethe.toml: No such file"), "{error}");
}
