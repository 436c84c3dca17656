//! What can be wrong with a project, said to the person who wrote it: file, line, column, and what was expected.

use std::{fmt, path::PathBuf};

/// A place in a file of the project. Lines and columns count from 1; columns count characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The file, as a path relative to the project's directory.
    pub file: String,
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl Position {
    /// The position of byte `offset` of `text`, which is the content of `file`.
    pub(super) fn of(file: &str, text: &str, offset: usize) -> Self {
        let before = &text.as_bytes()[..offset.min(text.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |newline| newline + 1);
        Self {
            file: file.to_owned(),
            line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
            column: String::from_utf8_lossy(&before[line_start..]).chars().count() + 1,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Something odd in a project that does not keep it from running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Where.
    pub at: Position,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.message)
    }
}

/// Why a project cannot be deployed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Something at a known place of a file.
    #[error("{at}: {message}")]
    At {
        /// Where.
        at: Position,
        /// What was wrong and what was expected.
        message: String,
    },
    /// The directory holds no configuration.
    #[error("no wrangler.jsonc, wrangler.json or wrangler.toml in {}", .0.display())]
    NoConfig(PathBuf),
    /// The directory holds more than one configuration, so it is unclear which one counts.
    #[error("{} holds {}: keep one of them", .dir.display(), .found.join(" and "))]
    SeveralConfigs {
        /// The directory.
        dir: PathBuf,
        /// The files found.
        found: Vec<String>,
    },
    /// A file or directory cannot be read.
    #[error("cannot read {}: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The operating system's or decoder's words.
        reason: String,
    },
    /// The project is larger than a limit.
    #[error("{0}")]
    TooLarge(String),
    /// Bytes that were sent as a project.
    #[error("the package cannot be used: {0}")]
    Package(String),
    /// A namespace that no binding or class has, or more than one.
    #[error("{0}")]
    Namespace(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "a\nüb\r\nc";
        let at = |offset| {
            let position = Position::of("f", text, offset);
            (position.line, position.column)
        };
        assert_eq!([at(0), at(2), at(4), at(7), at(99)], [(1, 1), (2, 1), (2, 2), (3, 1), (3, 2)]);
    }
}
