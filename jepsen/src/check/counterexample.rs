//! Makes a history that is not linearizable small enough for a person to see why.
//!
//! Every cut keeps the meaning: whatever is not linearizable after it was not linearizable before. First the history
//! is cut short right after the answer that made it impossible; then calls are dropped that the model allows to drop.

use std::{
    fmt::{self, Display},
    time::Instant,
};

use super::wgl::{Effort, Search, search};
use crate::model::{CallOf, Model};

/// A smallest set of calls found that cannot be explained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counterexample<I, O> {
    /// The calls, by time of invocation.
    pub calls: Vec<crate::model::Call<I, O>>,
    /// Places in `calls` of the longest sequence that explains some of them.
    pub longest: Vec<usize>,
}

/// Shrinks calls that [`search`] found impossible. Stops early, with what it has, when the effort is used up.
pub fn shrink<M: Model>(calls: &[CallOf<M>], effort: Effort) -> Counterexample<M::Input, M::Output> {
    let started = Instant::now();
    let impossible = |calls: &[CallOf<M>]| {
        let time_max = effort.time_max.saturating_sub(started.elapsed());
        matches!(search::<M>(calls, Effort { time_max, ..effort }), Search::Impossible(_))
    };
    let mut calls = shortest_prefix::<M>(calls, &impossible);
    calls.sort_by_key(|call| call.invoked);
    // Halves, quarters, ... then single calls, until nothing more can go.
    let mut chunk = calls.len().max(1);
    loop {
        let before = calls.len();
        drop_chunks::<M>(&mut calls, chunk, &impossible);
        if started.elapsed() > effort.time_max || (chunk == 1 && calls.len() == before) {
            break;
        }
        chunk = (chunk / 2).max(1);
    }
    let longest = match search::<M>(&calls, effort) {
        Search::Impossible(longest) => longest,
        Search::Linearizable(_) | Search::GaveUp(_) => Vec::new(),
    };
    Counterexample { calls, longest }
}

/// The history up to the first answer that cannot be explained. Calls open at that moment stay, unanswered.
fn shortest_prefix<M: Model>(calls: &[CallOf<M>], impossible: &impl Fn(&[CallOf<M>]) -> bool) -> Vec<CallOf<M>> {
    let until = |end: u64| -> Vec<CallOf<M>> {
        let cut = |call: &CallOf<M>| match call.returned {
            Some(returned) if returned > end => CallOf::<M> { output: None, returned: None, ..call.clone() },
            _ => call.clone(),
        };
        calls.iter().filter(|call| call.invoked <= end).map(cut).collect()
    };
    let mut answers: Vec<u64> = calls.iter().filter_map(|call| call.returned).collect();
    answers.sort_unstable();
    // The first answer whose prefix is impossible: prefixes of an explainable history are explainable.
    let first = answers.partition_point(|&end| !impossible(&until(end)));
    match answers.get(first) {
        Some(&end) => until(end),
        None => calls.to_vec(),
    }
}

fn drop_chunks<M: Model>(calls: &mut Vec<CallOf<M>>, chunk: usize, impossible: &impl Fn(&[CallOf<M>]) -> bool) {
    let mut start = 0;
    while start < calls.len() {
        let droppable = M::droppable(calls);
        let end = (start + chunk).min(calls.len());
        let keep =
            |(at, call): (usize, &CallOf<M>)| (!(start..end).contains(&at) || !droppable[at]).then(|| call.clone());
        let fewer: Vec<_> = calls.iter().enumerate().filter_map(keep).collect();
        if fewer.len() < calls.len() && impossible(&fewer) {
            *calls = fewer;
        } else {
            start = end;
        }
    }
}

impl<I: fmt::Debug, O: fmt::Debug> Display for Counterexample<I, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:>8} {:>8}  call -> answer", "invoked", "answered")?;
        for call in &self.calls {
            let returned = call.returned.map_or("never".to_string(), |index| index.to_string());
            let output = call.output.as_ref().map_or("?".to_string(), |output| format!("{output:?}"));
            writeln!(f, "{:>8} {returned:>8}  {:?} -> {output}", call.invoked, call.input)?;
        }
        let order: Vec<String> = self.longest.iter().map(|&at| format!("{:?}", self.calls[at].input)).collect();
        write!(f, "longest order that explains its answers: [{}]", order.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Call, Register, RegisterIn, RegisterOut};

    #[test]
    fn a_stale_read_among_hundreds_of_calls_shrinks_to_three() {
        let mut calls = Vec::new();
        for i in 0..100_u64 {
            let (write, read) = (RegisterIn::Write(i as i64), RegisterOut::Value(Some(i as i64)));
            calls.push(Call {
                input: write,
                output: Some(RegisterOut::Done),
                invoked: 4 * i,
                returned: Some(4 * i + 1),
            });
            calls.push(Call {
                input: RegisterIn::Read,
                output: Some(read),
                invoked: 4 * i + 2,
                returned: Some(4 * i + 3),
            });
        }
        calls[121].output = Some(RegisterOut::Value(Some(20)));
        let small = shrink::<Register>(&calls, Effort::default());
        let inputs: Vec<_> = small.calls.iter().map(|call| call.input).collect();
        // One later write proves that 20 was overwritten, whichever it is.
        assert_eq!(inputs.len(), 3, "{small}");
        assert_eq!((inputs[0], inputs[2]), (RegisterIn::Write(20), RegisterIn::Read));
        let text = small.to_string();
        assert!(text.contains("Read -> Value(Some(20))"), "{text}");
    }

    #[test]
    fn a_read_of_a_value_that_nobody_wrote_shrinks_to_itself() {
        let write =
            Call { input: RegisterIn::Write(1), output: Some(RegisterOut::Done), invoked: 0, returned: Some(1) };
        let read =
            Call { input: RegisterIn::Read, output: Some(RegisterOut::Value(Some(9))), invoked: 2, returned: Some(3) };
        let small = shrink::<Register>(&[write, read.clone()], Effort::default());
        assert_eq!(small.calls, [read]);
    }
}
