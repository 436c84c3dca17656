//! Random scripts, shrunk when they fail: the log and a `BTreeMap` must always say the same, across reopenings too.

use proptest::prelude::*;

use super::{
    model::{GROUPS, Run, Step, dir, observe},
    *,
};
use crate::store::vfs::FaultVfs;

fn step() -> impl Strategy<Value = Option<Step>> {
    let group = || 1..=GROUPS;
    prop_oneof![
        8 => (group(), 1..8u64, 0..2u64, 0..2000usize)
            .prop_map(|(group, count, term_step, bytes)| Some(Step::Append { group, count, term_step, bytes })),
        2 => group().prop_map(|group| Some(Step::Vote { group })),
        3 => (group(), 0..6u64).prop_map(|(group, back)| Some(Step::Truncate { group, back })),
        1 => group().prop_map(|group| Some(Step::TruncateAll { group })),
        3 => (group(), -3..10i64).prop_map(|(group, back)| Some(Step::Purge { group, back })),
        1 => group().prop_map(|group| Some(Step::Committed { group })),
        1 => group().prop_map(|group| Some(Step::Destroy { group })),
        2 => group().prop_map(|group| Some(Step::Create { group })),
        1 => Just(Some(Step::Settle)),
        1 => Just(None),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn the_log_always_says_what_the_model_says(
        script in proptest::collection::vec(step(), 1..120),
        window in 0..6usize,
        compact_segments in 2..5u32,
        tail_bytes_max in 0..4000u64,
    ) {
        let vfs = FaultVfs::new();
        let config = WalConfig { compact_segments, tail_bytes_max, ..config() };
        let open = || Wal::open(Arc::new(vfs.clone()), dir(), config.clone()).expect("the log opens").0;
        let mut wal = open();
        let mut run = Run::new(window);
        for step in &script {
            match step {
                Some(step) => run.step(&wal, step).expect("nothing fails"),
                None => {
                    run.drain(0).expect("nothing fails");
                    wal.close();
                    wal = open();
                }
            }
            let now = run.model.states.len() - 1;
            prop_assert_eq!(run.model.check(&wal, now), observe(&wal));
        }
    }
}
