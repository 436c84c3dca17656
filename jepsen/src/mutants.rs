//! Mutants: the real server with one promise broken on purpose. Each must be caught, or "valid" means nothing.
//!
//! The lies are compiled into `lethe-liar` only (`server/src/lies.rs`), which tells the one that its file is named
//! after. A mutant is tried with the workload and the nemesis that fit it, and judged after every fault.

use std::{
    fmt,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, ensure};

use crate::{
    check::Verdict,
    nemesis::Nemesis,
    run::{Config, run},
    verdict::{HISTORY_FILE, Judgement, RUN_FILE, VERDICT_FILE},
    workload::Name,
};

/// Final reads of an honest server may take this long.
const FINAL_READS_MAX: Duration = Duration::from_secs(60);

/// A server with one promise broken, and how to catch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mutant {
    /// Name of the lie.
    pub name: &'static str,
    /// What clients do.
    pub workload: Name,
    /// What is done to it.
    pub nemesis: Nemesis,
    /// Nodes.
    pub nodes: usize,
}

/// All mutants, and at the end a server that is honest: it must pass.
pub const MUTANTS: [Mutant; 6] = [
    Mutant { name: "skip-read-index", workload: Name::Register, nemesis: Nemesis::LeaderCut, nodes: 3 },
    Mutant { name: "skip-read-index", workload: Name::Counter, nemesis: Nemesis::LeaderPause, nodes: 3 },
    Mutant { name: "release-before-commit", workload: Name::List, nemesis: Nemesis::LeaderCut, nodes: 3 },
    Mutant { name: "keep-old-leader", workload: Name::Register, nemesis: Nemesis::LeaderPause, nodes: 3 },
    Mutant { name: "skip-sync", workload: Name::Register, nemesis: Nemesis::PowerCut, nodes: 1 },
    Mutant { name: HONEST, workload: Name::Register, nemesis: Nemesis::Leader, nodes: 3 },
];

/// Name of the server that tells no lie.
pub const HONEST: &str = "honest";

impl Mutant {
    /// Whether a violation is to be found.
    pub fn lies(self) -> bool {
        self.name != HONEST
    }

    /// Runs it until it is caught, or until `time` is over; `liar` is the path of `lethe-liar`. Everything goes to `out`.
    pub async fn attempt(self, liar: &Path, out: PathBuf, time: Duration, seed: u64) -> anyhow::Result<Attempt> {
        let liar = liar.canonicalize().with_context(|| format!("no {}: build it first", liar.display()))?;
        // It is beside the run's folder, not in it: that one must be new.
        let server = out.with_extension("server").join(self.name);
        std::fs::create_dir_all(server.parent().context("a name in a folder")?)?;
        symlink(&liar, &server).with_context(|| format!("cannot make {}", server.display()))?;
        let config = Config {
            server,
            out,
            workload: self.workload,
            nemesis: self.nemesis,
            nodes: self.nodes,
            groups: 8,
            settings: Config::RESTLESS.into(),
            time,
            final_reads_max: FINAL_READS_MAX,
            workers: 24,
            rate: 1_000.0,
            seed,
            until_caught: self.lies(),
            required: Config::required(self.workload, self.nemesis, time, self.nodes),
        };
        let judgement = run(&config).await?;
        ensure!(judgement.coverage.all.ok > 0, "nothing was answered: {judgement}");
        let attempt = Attempt { mutant: self, seed, judgement };
        if attempt.is_right() {
            strip(&config.out)?;
        }
        Ok(attempt)
    }
}

/// Removes all that a run left behind but what it can be judged by: the data of a liar is no evidence of anything.
fn strip(out: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(out).context("the run's folder")? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() {
            std::fs::remove_dir_all(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        } else if [HISTORY_FILE, RUN_FILE, VERDICT_FILE].iter().all(|kept| name != *kept) {
            std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

/// One run of a mutant.
pub struct Attempt {
    mutant: Mutant,
    seed: u64,
    judgement: Judgement,
}

impl Attempt {
    /// Whether a liar was caught, or an honest server passed.
    pub fn is_right(&self) -> bool {
        match &self.judgement.verdict {
            Verdict::Violation(_) => self.mutant.lies(),
            Verdict::Valid => !self.mutant.lies(),
            Verdict::Unknown(_) => false,
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mutant { name, workload, nemesis, nodes } = self.mutant;
        let coverage = &self.judgement.coverage;
        let verdict = match &self.judgement.verdict {
            Verdict::Valid => "valid".to_owned(),
            Verdict::Violation(why) => format!("caught: {}", why.lines().next().unwrap_or_default()),
            Verdict::Unknown(why) => format!("unknown: {}", why.lines().next().unwrap_or_default()),
        };
        write!(
            f,
            "{name}, {} under {} on {nodes}, seed {}: {} calls answered in {:.1} s, {} faults; {verdict}",
            workload.as_str(),
            nemesis.name(),
            self.seed,
            coverage.all.ok,
            coverage.seconds,
            coverage.faults.values().sum::<u64>(),
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_lie_of_the_server_is_a_mutant() {
        let source = include_str!("../../server/src/lies.rs");
        let lie = |line: &'static str| line.trim().strip_prefix('"')?.split_once("\" => ").map(|(name, _)| name);
        let lies: BTreeSet<&str> = source.lines().filter_map(lie).collect();
        let mutants: BTreeSet<&str> = MUTANTS.iter().map(|mutant| mutant.name).collect();
        assert_eq!(mutants, lies);
    }

    #[test]
    fn what_a_run_can_be_judged_by_is_kept_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("data/wal")).unwrap();
        for name in [HISTORY_FILE, RUN_FILE, VERDICT_FILE, "disk.img", "data/wal/1"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        strip(dir.path()).unwrap();
        let left: BTreeSet<_> =
            std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, BTreeSet::from([HISTORY_FILE, RUN_FILE, VERDICT_FILE].map(Into::into)));
    }

    #[test]
    fn only_the_honest_one_is_to_pass() {
        let honest: Vec<&str> = MUTANTS.iter().filter(|mutant| !mutant.lies()).map(|mutant| mutant.name).collect();
        assert_eq!(honest, [HONEST]);
    }
}
