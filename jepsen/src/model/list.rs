//! A list: append, read all. Each item is appended at most once in a list's life.
//!
//! | f | `value` invoked | `value` of `ok` |
//! |---|---|---|
//! | `append` | the item | the same |
//! | `read` | `null` | all items in their order |
//!
//! Every read tells the whole past and its order: what was lost, doubled, or done in another order than it was
//! acknowledged in, shows in the next read.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CallOf, Model};
use crate::history::Op;

/// The model.
#[derive(Clone, Debug)]
pub enum List {}

/// What can be asked of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListIn {
    /// Put this item at the end.
    Append(u32),
    /// All items?
    Read,
}

/// What a list answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListOut {
    /// Appended.
    Done,
    /// All items.
    Items(Vec<u32>),
}

impl ListIn {
    /// The function's name and the `value` of the invocation.
    pub fn invocation(self) -> (&'static str, Value) {
        match self {
            Self::Append(item) => ("append", json!(item)),
            Self::Read => ("read", Value::Null),
        }
    }
}

impl ListOut {
    /// The `value` of the `ok` completion of `input`.
    pub fn value(&self, input: ListIn) -> Value {
        match self {
            Self::Items(items) => json!(items),
            Self::Done => input.invocation().1,
        }
    }

    /// What `value` means as an answer to `input`; `None` if it is none.
    pub fn parse(input: ListIn, value: &Value) -> Option<Self> {
        match input {
            ListIn::Append(item) => (value.as_u64() == Some(item.into())).then_some(Self::Done),
            ListIn::Read => serde_json::from_value(value.clone()).ok().map(Self::Items),
        }
    }
}

impl Model for List {
    type State = Vec<u32>;
    type Input = ListIn;
    type Output = ListOut;

    fn initial() -> Vec<u32> {
        Vec::new()
    }

    fn step(state: &Vec<u32>, input: &ListIn, output: Option<&ListOut>) -> Option<Vec<u32>> {
        match (input, output) {
            (ListIn::Append(item), None | Some(ListOut::Done)) => Some([state.as_slice(), &[*item]].concat()),
            (ListIn::Read, None) => Some(state.clone()),
            (ListIn::Read, Some(ListOut::Items(items))) => (items == state).then(|| state.clone()),
            (ListIn::Append(_), Some(ListOut::Items(_))) | (ListIn::Read, Some(ListOut::Done)) => None,
        }
    }

    /// Reads may go, and so may an append whose item nobody saw: no read came after it.
    fn droppable(calls: &[CallOf<Self>]) -> Vec<bool> {
        let mut seen: BTreeSet<u32> = BTreeSet::new();
        for call in calls {
            if let Some(ListOut::Items(items)) = &call.output {
                seen.extend(items);
            }
        }
        let free = |call: &CallOf<Self>| match call.input {
            ListIn::Read => true,
            ListIn::Append(item) => !seen.contains(&item),
        };
        calls.iter().map(free).collect()
    }

    fn knows(f: &str) -> bool {
        matches!(f, "append" | "read")
    }

    fn input(invoke: &Op) -> Result<ListIn, String> {
        let item = invoke.value.as_u64().and_then(|item| u32::try_from(item).ok());
        match (invoke.f.as_str(), item) {
            ("append", Some(item)) => Ok(ListIn::Append(item)),
            ("read", None) if invoke.value.is_null() => Ok(ListIn::Read),
            _ => Err(format!("{} is not an argument of {}", invoke.value, invoke.f)),
        }
    }

    fn output(input: &ListIn, ok: &Op) -> Result<ListOut, String> {
        ListOut::parse(*input, &ok.value).ok_or_else(|| format!("{} is not an answer to {}", ok.value, ok.f))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_shows_all_items_in_their_order() {
        let items = |items: &[u32]| ListOut::Items(items.to_vec());
        assert_eq!(List::step(&vec![4], &ListIn::Append(3), Some(&ListOut::Done)), Some(vec![4, 3]));
        assert_eq!(List::step(&vec![4], &ListIn::Append(3), None), Some(vec![4, 3]));
        assert_eq!(List::step(&vec![4, 3], &ListIn::Read, Some(&items(&[4, 3]))), Some(vec![4, 3]));
        for wrong in [&[3, 4][..], &[4], &[4, 3, 3], &[]] {
            assert_eq!(List::step(&vec![4, 3], &ListIn::Read, Some(&items(wrong))), None, "{wrong:?}");
        }
    }

    #[test]
    fn only_lists_and_the_item_itself_are_answers() {
        assert_eq!(ListOut::parse(ListIn::Append(2), &json!(2)), Some(ListOut::Done));
        assert_eq!(ListOut::parse(ListIn::Append(2), &json!(3)), None);
        assert_eq!(ListOut::parse(ListIn::Read, &json!([2, 1])), Some(ListOut::Items(vec![2, 1])));
        assert_eq!(ListOut::parse(ListIn::Read, &json!([2, "1"])), None);
    }
}
