//! Power cuts at every I/O: nothing acknowledged is lost, nothing is half there, and votes never go back.

use super::{
    model::{self, Run, State, Step, dir},
    *,
};
use crate::store::vfs::FaultVfs;

/// Cuts are tried with so many different remains each.
const SEEDS: u64 = 4;

fn try_open(vfs: &FaultVfs, config: &WalConfig) -> Result<Wal, Error> {
    Wal::open(Arc::new(vfs.clone()), dir(), config.clone()).map(|(wal, _)| wal)
}

/// Segments are copied and deleted often.
fn crowded() -> WalConfig {
    WalConfig { compact_segments: 2, ..config() }
}

/// Opens the log after a cut, checks it, goes on with it, and checks that too.
fn check_after(vfs: &FaultVfs, config: &WalConfig, run: &Run, what: &str) -> State {
    let wal = try_open(vfs, config).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = run.model.check(&wal, run.acknowledged);
    let mut more = Run::from(run.model.after(found.clone()), 0);
    more.all(&wal, &model::script(99, 12)).unwrap_or_else(|error| panic!("{what}, going on: {error}"));
    wal.close();
    let wal = try_open(vfs, config).unwrap_or_else(|error| panic!("{what}, opening again: {error}"));
    more.model.check(&wal, more.acknowledged);
    found
}

/// Runs a script with a power cut at each of its I/Os.
pub(super) fn cut_everywhere(config: &WalConfig, script: &[Step], window: usize) {
    let mut cuts = 0;
    for cut in 1.. {
        let vfs = FaultVfs::new();
        vfs.cut_at(cut);
        let mut run = Run::new(window);
        if let Ok(wal) = try_open(&vfs, config)
            && run.all(&wal, script).is_ok()
        {
            wal.settle();
        }
        if !vfs.is_off() {
            break;
        }
        cuts += 1;
        for seed in cut * SEEDS..(cut + 1) * SEEDS {
            check_after(&vfs.power_cut(seed), config, &run, &format!("cut at {cut}, seed {seed}"));
        }
    }
    assert!(cuts > 60, "the script has only {cuts} I/Os");
}

#[test]
fn a_power_cut_at_any_io_loses_nothing_acknowledged() {
    for seed in 0..4 {
        println!("script {seed}");
        let mut script = model::script(seed, 60);
        script.extend([Step::Settle]);
        cut_everywhere(&config(), &script, 0);
    }
}

#[test]
fn a_power_cut_at_any_io_loses_nothing_acknowledged_while_many_changes_are_in_flight() {
    for seed in 10..13 {
        println!("script {seed}");
        let config = if seed % 2 == 0 { config() } else { crowded() };
        cut_everywhere(&config, &model::script(seed, 100), 8);
    }
}

#[test]
fn a_power_cut_at_any_io_loses_nothing_while_old_segments_are_copied_and_deleted() {
    let mut script = vec![Step::Append { group: 1, count: 3, term_step: 0, bytes: 100 }];
    for _ in 0..12 {
        script.push(Step::Append { group: 2, count: 4, term_step: 0, bytes: 1500 });
        script.push(Step::Vote { group: 3 });
        script.push(Step::Purge { group: 2, back: 2 });
        script.push(Step::Settle);
    }
    let vfs = FaultVfs::new();
    let wal = try_open(&vfs, &crowded()).unwrap();
    Run::new(0).all(&wal, &script).unwrap();
    let stats = wal.stats();
    assert!(stats.rewritten > 3 && stats.segments <= 4, "{stats:?}");
    cut_everywhere(&crowded(), &script, 0);
}

#[test]
fn a_power_cut_during_recovery_loses_nothing() {
    let script = model::script(20, 40);
    for cut in (40..200).step_by(7) {
        let vfs = FaultVfs::new();
        vfs.cut_at(cut);
        let mut run = Run::new(4);
        if let Ok(wal) = try_open(&vfs, &config()) {
            run.all(&wal, &script).ok();
        }
        let after = vfs.power_cut(cut);
        for second in 1.. {
            let again = after.power_cut(0);
            again.cut_at(second);
            drop(try_open(&again, &config()));
            if !again.is_off() {
                break;
            }
            for seed in (cut + second) * SEEDS..(cut + second + 1) * SEEDS {
                check_after(
                    &again.power_cut(seed),
                    &config(),
                    &run,
                    &format!("cuts at {cut} and {second}, seed {seed}"),
                );
            }
        }
    }
}

#[test]
fn what_was_seen_after_a_process_crash_survives_a_power_cut_after_it() {
    let script = model::script(30, 40);
    for cut in (40..250).step_by(5) {
        let vfs = FaultVfs::new();
        vfs.cut_at(cut);
        let mut run = Run::new(8);
        if let Ok(wal) = try_open(&vfs, &config()) {
            run.all(&wal, &script).ok();
        }
        let crashed = vfs.process_crash();
        let wal = try_open(&crashed, &config()).unwrap_or_else(|error| panic!("crash at {cut}: {error}"));
        let seen = run.model.check(&wal, run.acknowledged);
        for seed in cut * SEEDS..(cut + 1) * SEEDS {
            // The first cut turns this disk off; later ones still see what was durable then.
            let wal =
                try_open(&crashed.power_cut(seed), &config()).unwrap_or_else(|error| panic!("cut {cut}: {error}"));
            assert_eq!(model::observe(&wal), seen, "crash at {cut}, then a cut with seed {seed}");
        }
        drop(wal);
    }
}
