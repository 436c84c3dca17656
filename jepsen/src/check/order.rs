//! Lists: whether their histories are linearizable, without a search.
//!
//! Every read tells all items in their order. So the reads alone fix the order in which everything was done: appends in
//! the order of the longest read, each read right after the last item it shows, and appends that no read shows after
//! everything else. The history is linearizable exactly if this order obeys real time, which is a question about pairs.
//! (A search would have to try all orders of appends that overlap, and each leaves a state of its own.)

use std::collections::BTreeMap;

use super::{Report, Verdict};
use crate::{
    history::Op,
    model::{CallOf, List, ListIn, ListOut, Unexpected, calls_by_key},
};

/// Wrong keys that are described; the others are only counted.
const SHOWN_MAX: usize = 3;

/// Checks every list of a valid history.
pub fn lists(history: &[Op]) -> Result<Report, Unexpected> {
    let keys = calls_by_key::<List>(history)?;
    let (mut verdict, mut shown) = (Verdict::Valid, 0);
    for (key, calls) in &keys {
        if let Err(why) = explain(calls)
            && shown < SHOWN_MAX
        {
            shown += 1;
            verdict = verdict.and(Verdict::Violation(format!("key {key} is not linearizable\n{why}")));
        }
    }
    let sizes = keys.values().map(Vec::len);
    Ok(Report { keys: keys.len(), calls: sizes.clone().sum(), calls_per_key_max: sizes.max().unwrap_or(0), verdict })
}

/// `Err` with the reason if no order of these calls explains their answers.
pub fn explain(calls: &[CallOf<List>]) -> Result<(), String> {
    let reads = || calls.iter().filter_map(|call| shown(call).map(|items| (call, items)));
    let longest = reads().map(|(_, items)| items).max_by_key(|items| items.len()).unwrap_or_default();
    let mut places = BTreeMap::new();
    for (place, item) in longest.iter().enumerate() {
        if places.insert(*item, place).is_some() {
            return Err(format!("item {item} is shown twice: {longest:?}"));
        }
    }
    if let Some((_, items)) = reads().find(|(_, items)| !longest.starts_with(items)) {
        return Err(format!("two reads cannot both be right: {items:?} and {longest:?}"));
    }
    let asked = |item: &u32| calls.iter().any(|call| call.input == ListIn::Append(*item));
    if let Some(item) = longest.iter().find(|item| !asked(item)) {
        return Err(format!("nobody appended item {item}, which is shown: {longest:?}"));
    }
    in_real_time(calls, &places)
}

/// What a read that was answered shows.
fn shown(call: &CallOf<List>) -> Option<&[u32]> {
    match &call.output {
        Some(ListOut::Items(items)) => Some(items),
        Some(ListOut::Done) | None => None,
    }
}

/// `Err` with the first pair that was done in one order and answered in the other.
fn in_real_time(calls: &[CallOf<List>], places: &BTreeMap<u32, usize>) -> Result<(), String> {
    // A read stands between the last item that it shows and the next. A call that nobody answered may never be done.
    let rank = |call: &CallOf<List>| match (call.input, shown(call)) {
        (ListIn::Read, items) => items.map(|items| 2 * items.len()),
        (ListIn::Append(item), _) => match places.get(&item) {
            Some(place) => Some(2 * place + 1),
            None => call.returned.map(|_| 2 * places.len() + 1),
        },
    };
    let ranked: Vec<_> = calls.iter().filter_map(|call| Some((rank(call)?, call))).collect();
    for (later_rank, over) in &ranked {
        let Some(returned) = over.returned else { continue };
        for (rank, call) in &ranked {
            if call.invoked > returned && rank < later_rank {
                return Err(format!(
                    "{:?} was answered at {returned}, {:?} asked at {}; but what reads show puts them the other way \
                     round:\n{over:?}\n{call:?}",
                    over.input, call.input, call.invoked
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Call;

    fn append(item: u32, invoked: u64, returned: Option<u64>) -> CallOf<List> {
        Call { input: ListIn::Append(item), output: returned.map(|_| ListOut::Done), invoked, returned }
    }

    fn read(items: &[u32], invoked: u64, returned: u64) -> CallOf<List> {
        Call { input: ListIn::Read, output: Some(ListOut::Items(items.to_vec())), invoked, returned: Some(returned) }
    }

    #[test]
    fn overlapping_appends_may_come_in_either_order_and_unanswered_ones_late_or_never() {
        let both = [append(1, 0, Some(3)), append(2, 1, Some(2))];
        for items in [[1, 2], [2, 1]] {
            assert_eq!(explain(&[both.as_slice(), &[read(&items, 4, 5)]].concat()), Ok(()));
        }
        let open = [append(1, 0, None), append(2, 1, Some(2)), read(&[2], 3, 4)];
        assert_eq!(explain(&open), Ok(()));
        assert_eq!(explain(&[open.as_slice(), &[read(&[2, 1], 5, 6)]].concat()), Ok(()));
        assert_eq!(explain(&[append(1, 0, Some(1))]), Ok(()));
    }

    #[test]
    fn each_way_of_being_wrong_is_named() {
        let cases = [
            (vec![append(1, 0, Some(1)), read(&[], 2, 3)], "was answered at 1, Read asked at 2"),
            (vec![append(1, 0, Some(1)), read(&[1, 1], 2, 3)], "item 1 is shown twice"),
            (vec![append(1, 0, Some(1)), read(&[1, 7], 2, 3)], "nobody appended item 7"),
            (vec![append(1, 0, Some(1)), append(2, 2, Some(3)), read(&[2, 1], 4, 5)], "the other way round"),
            (
                vec![append(1, 0, Some(9)), append(2, 1, Some(8)), read(&[1], 2, 3), read(&[2, 1], 4, 5)],
                "both be right",
            ),
            (vec![append(1, 0, Some(9)), read(&[1], 2, 3), read(&[], 4, 5)], "was answered at 3, Read asked at 4"),
            (vec![read(&[1], 0, 1), append(1, 2, Some(3))], "was answered at 1, Append(1) asked at 2"),
            (vec![append(1, 0, Some(1)), append(2, 2, Some(3)), read(&[2], 4, 5)], "Append(1) was answered at 1"),
        ];
        for (calls, words) in cases {
            let why = explain(&calls).expect_err(words);
            assert!(why.contains(words), "{words:?} is not in {why}");
        }
    }
}
