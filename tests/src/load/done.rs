//! Which calls were done: what callers were told, beside what a counter says it did.
//!
//! A bound on the count alone would not find a call that was done although its caller was told that it was not: calls whose
//! fate nobody knows would make up for it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Result, ensure};
use serde::Deserialize;

/// A caller, and the number of its call.
pub(super) type Call = (usize, u64);

/// What callers were told.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    answered: BTreeSet<Call>,
    refused: BTreeSet<Call>,
}

/// What a counter says: its value, and ranges of calls by their caller.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Counted {
    n: u64,
    done: BTreeMap<usize, Vec<(u64, u64)>>,
}

impl Calls {
    /// It was answered.
    pub fn answered(&mut self, call: Call) {
        self.answered.insert(call);
    }

    /// It was said to be not done.
    pub fn refused(&mut self, call: Call) {
        self.refused.insert(call);
    }

    /// Everything that was answered was done, nothing that was refused, and nothing twice.
    pub fn check(&self, counted: &Counted) -> Result<()> {
        let all = || counted.done.iter().flat_map(|(caller, ranges)| ranges.iter().map(move |range| (*caller, *range)));
        let done: BTreeSet<Call> =
            all().flat_map(|(caller, (first, last))| (first..=last).map(move |call| (caller, call))).collect();
        let times: u64 = all().map(|(_, (first, last))| last + 1 - first).sum();
        ensure!(
            times == counted.n && done.len() as u64 == times,
            "it is {}, but did {} calls {times} times",
            counted.n,
            done.len()
        );
        let lost: Vec<_> = self.answered.difference(&done).collect();
        ensure!(lost.is_empty(), "calls that were answered are not in it: {lost:?}");
        let denied: Vec<_> = self.refused.intersection(&done).collect();
        ensure!(denied.is_empty(), "calls that were said to be not done are in it: {denied:?}");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(n: u64, ranges: &[(u64, u64)]) -> Counted {
        Counted { n, done: BTreeMap::from([(7, ranges.to_vec())]) }
    }

    #[test]
    fn a_lost_a_denied_and_a_doubled_call_are_found_beside_calls_of_unknown_fate() {
        let mut calls = Calls::default();
        [1, 2, 5].into_iter().for_each(|call| calls.answered((7, call)));
        calls.refused((7, 3));
        calls.check(&counted(3, &[(1, 2), (5, 5)])).unwrap();
        calls.check(&counted(4, &[(1, 2), (4, 5)])).unwrap();
        let wrong = [
            (counted(3, &[(1, 2), (4, 4)]), "are not in it: [(7, 5)]"),
            (counted(4, &[(1, 3), (5, 5)]), "are in it: [(7, 3)]"),
            (counted(4, &[(1, 2), (5, 5), (5, 5)]), "3 calls 4 times"),
            (counted(2, &[(1, 2), (5, 5)]), "it is 2"),
        ];
        for (counted, words) in wrong {
            let why = calls.check(&counted).unwrap_err().to_string();
            assert!(why.contains(words), "{why}");
        }
    }
}
