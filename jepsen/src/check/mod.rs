//! Checkers. Each answers [`Verdict`]: valid, violated with a reason a person can follow, or unknown. Unknown is never
//! a pass.

mod counterexample;
mod coverage;
mod linearizable;
mod order;
mod wgl;

pub use counterexample::{Counterexample, shrink};
pub use coverage::{Coverage, Required, has_changed, measure};
pub use linearizable::{Report, linearizable};
pub use order::{explain, lists};
pub use wgl::{Effort, Search, search};

use serde::{Deserialize, Serialize};

/// What a checker says of a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", content = "why", rename_all = "lowercase")]
pub enum Verdict {
    /// The promise was kept.
    Valid,
    /// The promise was broken; the text shows how.
    Violation(String),
    /// Nobody can say; the text says why.
    Unknown(String),
}

impl Verdict {
    /// The worse of two: a violation outweighs everything, unknown outweighs valid.
    pub fn and(self, other: Verdict) -> Verdict {
        match (self, other) {
            (Verdict::Violation(a), Verdict::Violation(b)) => Verdict::Violation(format!("{a}\n{b}")),
            (violation @ Verdict::Violation(_), _) | (_, violation @ Verdict::Violation(_)) => violation,
            (Verdict::Unknown(a), Verdict::Unknown(b)) => Verdict::Unknown(format!("{a}\n{b}")),
            (unknown @ Verdict::Unknown(_), _) | (_, unknown @ Verdict::Unknown(_)) => unknown,
            (Verdict::Valid, Verdict::Valid) => Verdict::Valid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_violation_outweighs_unknown_and_unknown_outweighs_valid() {
        let (violation, unknown) = (Verdict::Violation("v".into()), Verdict::Unknown("u".into()));
        assert_eq!(unknown.clone().and(violation.clone()), violation);
        assert_eq!(violation.clone().and(Verdict::Valid), violation);
        assert_eq!(Verdict::Valid.and(unknown.clone()), unknown);
        assert_eq!(Verdict::Valid.and(Verdict::Valid), Verdict::Valid);
    }
}
