//! One line of a history.
//!
//! The fields are Jepsen's. `index` is the total order that checkers use; `time` is only for people.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A client is about to ask.
    Invoke,
    /// It was done, and this is the answer.
    Ok,
    /// It surely was not done.
    Fail,
    /// It may have been done, or may still be done at any later time. Everything the nemesis does is `info`.
    Info,
}

/// Who did it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "ProcessText", into = "ProcessText")]
pub enum Process {
    /// A logical client: does one thing at a time, and nothing more after an `info`.
    Client(u64),
    /// What breaks things.
    Nemesis,
}

/// Form of [`Process`] on disk: a number, or `"nemesis"`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum ProcessText {
    Client(u64),
    Nemesis(NemesisText),
}

#[derive(Serialize, Deserialize)]
enum NemesisText {
    #[serde(rename = "nemesis")]
    Nemesis,
}

impl From<ProcessText> for Process {
    fn from(text: ProcessText) -> Self {
        match text {
            ProcessText::Client(number) => Process::Client(number),
            ProcessText::Nemesis(NemesisText::Nemesis) => Process::Nemesis,
        }
    }
}

impl From<Process> for ProcessText {
    fn from(process: Process) -> Self {
        match process {
            Process::Client(number) => ProcessText::Client(number),
            Process::Nemesis => ProcessText::Nemesis(NemesisText::Nemesis),
        }
    }
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Op {
    /// Place in the total order, dense from 0.
    pub index: u64,
    /// Nanoseconds since the run began.
    pub time: u64,
    /// Who did it.
    pub process: Process,
    /// What the line says.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// The function: `read`, `write`, `cas`, `destroy`, `add`, or a nemesis action.
    pub f: String,
    /// The object it was done to; histories are checked key by key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Arguments on `invoke`, result on `ok`; each workload defines the shape.
    #[serde(default)]
    pub value: Value,
    /// Why it failed, or why nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The way it was sent: a node, a door of a node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_has_the_documented_json_form() {
        let line = r#"{"index":24,"time":53140011002,"process":3,"type":"info","f":"cas","key":"a7","value":[1,2],"error":"timeout","node":"n2"}"#;
        let op: Op = serde_json::from_str(line).unwrap();
        let expected = Op {
            index: 24,
            time: 53140011002,
            process: Process::Client(3),
            kind: Kind::Info,
            f: "cas".into(),
            key: Some("a7".into()),
            value: json!([1, 2]),
            error: Some("timeout".into()),
            node: Some("n2".into()),
        };
        assert_eq!(op, expected);
        assert_eq!(serde_json::to_string(&op).unwrap(), line);
    }

    #[test]
    fn the_nemesis_is_a_process_named_in_words() {
        let line = r#"{"index":0,"time":1,"process":"nemesis","type":"info","f":"kill","value":null}"#;
        let op: Op = serde_json::from_str(line).unwrap();
        assert_eq!(op.process, Process::Nemesis);
        assert_eq!(serde_json::to_string(&op).unwrap(), line);
        assert!(serde_json::from_str::<Op>(&line.replace("nemesis", "gremlin")).is_err());
    }
}
