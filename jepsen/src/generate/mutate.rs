//! Wrong histories: a right one with a single answer changed, so that no order can explain it.
//!
//! A change is made only where real time alone proves that it is wrong, so a checker has no excuse to pass it.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde_json::json;

use crate::{
    history::Op,
    model::{
        Bank, BankOut, Call, CallOf, Counter, List, ListIn, ListOut, Model, Register, RegisterIn, RegisterOut, Set,
        SetIn, SetOut, calls_by_key,
    },
};

/// What is made wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// A read answers a value although a later one was acknowledged before it was asked.
    StaleRead,
    /// A read answers that nothing was ever written although a write was acknowledged before it was asked.
    LostWrite,
    /// A counter holds more than all that was ever added.
    DuplicatedEffect,
    /// A read answers a value although the destruction was acknowledged before it was asked.
    ResurrectedValue,
    /// A read of a bank sees one side of a transfer only: the total is wrong.
    TornTransfer,
    /// A read of a set lacks a number that was inserted before, and that nobody ever removed.
    LostElement,
    /// Two reads, one after the other, answer two values in the order opposite to that of their writes.
    ReorderedPair,
    /// A read of a list lacks an item that was appended before.
    LostAppend,
    /// A read of a list shows two items in the order opposite to that of their appends.
    SwappedAppends,
}

impl Mutation {
    /// All of them.
    pub const ALL: [Mutation; 9] = [
        Mutation::StaleRead,
        Mutation::LostWrite,
        Mutation::DuplicatedEffect,
        Mutation::ResurrectedValue,
        Mutation::ReorderedPair,
        Mutation::TornTransfer,
        Mutation::LostElement,
        Mutation::LostAppend,
        Mutation::SwappedAppends,
    ];
}

type RegisterCall = Call<RegisterIn, RegisterOut>;

/// A change of answers: (history index, new `value`).
type Edit = Vec<(u64, serde_json::Value)>;

/// Makes `history` wrong at one place of those that allow it; `None` if none does. `DuplicatedEffect` is for counters,
/// `TornTransfer` for banks, `LostElement` for sets, `LostAppend` and `SwappedAppends` for lists, the others for registers.
pub fn mutate(history: &[Op], mutation: Mutation, seed: u64) -> Option<Vec<Op>> {
    let mut edits: Vec<Edit> = match mutation {
        Mutation::DuplicatedEffect => of_all_keys::<Counter>(history, duplicated_effects)?,
        Mutation::TornTransfer => of_all_keys::<Bank>(history, torn_transfers)?,
        Mutation::LostElement => of_all_keys::<Set>(history, lost_elements)?,
        Mutation::LostAppend => of_all_keys::<List>(history, lost_appends)?,
        Mutation::SwappedAppends => of_all_keys::<List>(history, swapped_appends)?,
        Mutation::StaleRead => of_all_keys::<Register>(history, stale_reads)?,
        Mutation::LostWrite => of_all_keys::<Register>(history, lost_writes)?,
        Mutation::ResurrectedValue => of_all_keys::<Register>(history, resurrected_values)?,
        Mutation::ReorderedPair => of_all_keys::<Register>(history, reordered_pairs)?,
    };
    if edits.is_empty() {
        return None;
    }
    let edit = edits.swap_remove(StdRng::seed_from_u64(seed).random_range(0..edits.len()));
    let mut history = history.to_vec();
    for (index, value) in edit {
        history[index as usize].value = value;
    }
    Some(history)
}

fn of_all_keys<M: Model>(history: &[Op], edits: impl Fn(&[CallOf<M>]) -> Vec<Edit>) -> Option<Vec<Edit>> {
    let keys = calls_by_key::<M>(history).ok()?;
    Some(keys.values().flat_map(|calls| edits(calls)).collect())
}

/// Whether `first` was answered before `second` was asked.
fn precedes<I, O>(first: &Call<I, O>, second: &Call<I, O>) -> bool {
    first.returned.is_some_and(|returned| returned < second.invoked)
}

/// The value this call surely left behind.
fn surely_wrote(call: &RegisterCall) -> Option<i64> {
    match (call.input, call.output) {
        (RegisterIn::Write(new) | RegisterIn::Cas(_, new), Some(RegisterOut::Done)) => Some(new),
        _ => None,
    }
}

/// Reads that answered something, with the place of the answer.
fn reads(calls: &[RegisterCall]) -> impl Iterator<Item = (&RegisterCall, u64)> {
    calls.iter().filter(|call| call.input == RegisterIn::Read).filter_map(|call| Some((call, call.returned?)))
}

fn writes(calls: &[RegisterCall]) -> impl Iterator<Item = (&RegisterCall, i64)> {
    calls.iter().filter_map(|call| Some((call, surely_wrote(call)?)))
}

fn stale_reads(calls: &[RegisterCall]) -> Vec<Edit> {
    let mut edits = Vec::new();
    for (old, value) in writes(calls) {
        for (new, _) in writes(calls).filter(|(new, _)| precedes(old, new)) {
            edits.extend(reads(calls).filter(|(read, _)| precedes(new, read)).map(|(_, at)| vec![(at, json!(value))]));
        }
    }
    edits
}

fn lost_writes(calls: &[RegisterCall]) -> Vec<Edit> {
    let edits = |(write, _): (&RegisterCall, i64)| {
        let write = write.clone();
        reads(calls).filter(move |(read, _)| precedes(&write, read)).map(|(_, at)| vec![(at, json!(null))])
    };
    writes(calls).flat_map(edits).collect()
}

fn resurrected_values(calls: &[RegisterCall]) -> Vec<Edit> {
    let destroys = calls.iter().filter(|call| call.input == RegisterIn::Destroy && call.output.is_some());
    let mut edits = Vec::new();
    for destroy in destroys {
        for (_, value) in writes(calls).filter(|(write, _)| precedes(write, destroy)) {
            let late = reads(calls).filter(|(read, _)| precedes(destroy, read));
            edits.extend(late.map(|(_, at)| vec![(at, json!(value))]));
        }
    }
    edits
}

fn reordered_pairs(calls: &[RegisterCall]) -> Vec<Edit> {
    let wrote = |value| writes(calls).find(|(_, wrote)| Some(*wrote) == value).map(|(call, _)| call);
    let seen = |read: &RegisterCall| match read.output {
        Some(RegisterOut::Value(seen)) => seen,
        Some(RegisterOut::Done | RegisterOut::Mismatch(_) | RegisterOut::Destroyed) | None => None,
    };
    let mut edits = Vec::new();
    for (first, first_at) in reads(calls) {
        for (second, second_at) in reads(calls).filter(|(second, _)| precedes(first, second)) {
            let (a, b) = (seen(first), seen(second));
            if let (Some(writer_a), Some(writer_b)) = (wrote(a), wrote(b))
                && precedes(writer_a, writer_b)
            {
                edits.push(vec![(first_at, json!(b)), (second_at, json!(a))]);
            }
        }
    }
    edits
}

/// More than the sum of all adds that were asked for before the answer, by the size of one of them.
fn duplicated_effects(calls: &[Call<Option<i64>, i64>]) -> Vec<Edit> {
    let read = |call: &Call<Option<i64>, i64>| call.input.is_none().then_some(call.returned).flatten();
    let mut edits = Vec::new();
    for at in calls.iter().filter_map(read) {
        let asked: Vec<i64> = calls.iter().filter(|call| call.invoked < at).filter_map(|call| call.input).collect();
        edits.extend(asked.first().map(|twice| vec![(at, json!(asked.iter().sum::<i64>() + twice))]));
    }
    edits
}

/// One account of a read holds one more than it did.
fn torn_transfers(calls: &[CallOf<Bank>]) -> Vec<Edit> {
    let edit = |call: &CallOf<Bank>| {
        let Some(BankOut::Balances(mut balances)) = call.output else { return None };
        balances[call.invoked as usize % balances.len()] += 1;
        Some(vec![(call.returned?, json!(balances))])
    };
    calls.iter().filter_map(edit).collect()
}

fn lost_elements(calls: &[CallOf<Set>]) -> Vec<Edit> {
    let removed = |number| calls.iter().any(|call| call.input == SetIn::Remove(number));
    let mut edits = Vec::new();
    for insert in calls {
        let SetIn::Insert(number) = insert.input else { continue };
        if removed(number) {
            continue;
        }
        for read in calls.iter().filter(|read| precedes(insert, read)) {
            if let (Some(SetOut::Numbers(bits)), Some(at)) = (read.output, read.returned) {
                edits.push(vec![(at, SetOut::Numbers(bits & !(1 << number)).value(read.input))]);
            }
        }
    }
    edits
}

/// Reads of a list, with their items and the place of the answer.
fn list_reads(calls: &[CallOf<List>]) -> impl Iterator<Item = (&CallOf<List>, &[u32], u64)> {
    calls.iter().filter_map(|read| match &read.output {
        Some(ListOut::Items(items)) => Some((read, items.as_slice(), read.returned?)),
        Some(ListOut::Done) | None => None,
    })
}

fn lost_appends(calls: &[CallOf<List>]) -> Vec<Edit> {
    let mut edits = Vec::new();
    for append in calls {
        let ListIn::Append(lost) = append.input else { continue };
        for (_, items, at) in list_reads(calls).filter(|(read, ..)| precedes(append, read)) {
            let kept: Vec<u32> = items.iter().copied().filter(|item| *item != lost).collect();
            edits.push(vec![(at, json!(kept))]);
        }
    }
    edits
}

fn swapped_appends(calls: &[CallOf<List>]) -> Vec<Edit> {
    let append = |item: u32| calls.iter().find(|call| call.input == ListIn::Append(item));
    let mut edits = Vec::new();
    for (_, items, at) in list_reads(calls) {
        for (place, pair) in items.windows(2).enumerate() {
            let (first, second) = (append(pair[0]), append(pair[1]));
            if first.zip(second).is_some_and(|(first, second)| precedes(first, second)) {
                let mut swapped = items.to_vec();
                swapped.swap(place, place + 1);
                edits.push(vec![(at, json!(swapped))]);
            }
        }
    }
    edits
}
