//! Files of the tree, and a view of Rust code in which comments and literals are blank.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Folders that are not written by hand here.
const SKIPPED: [&str; 5] = ["target", ".git", "node_modules", "third_party", ".wrangler"];

/// Kinds of files that the rules look at.
const EXTENSIONS: [&str; 12] = ["rs", "js", "mjs", "proto", "toml", "md", "html", "css", "json", "jsonc", "yml", "sh"];

/// Bytes a file may have; a bigger one is no source and does not belong among them.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// One file.
pub struct File {
    /// Path from the root of the tree, with `/`.
    pub path: String,
    /// Its text.
    pub text: String,
    /// For Rust: the text with every comment, string and character literal overwritten by spaces. Else empty.
    pub code: String,
}

impl File {
    pub fn new(path: &str, text: String) -> Self {
        let code = if path.ends_with(".rs") { blank(&text) } else { String::new() };
        Self { path: path.to_string(), text, code }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    pub fn extension(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    /// Number of the line, from 1, that holds this byte.
    pub fn line(&self, at: usize) -> usize {
        1 + self.text[..at].matches('\n').count()
    }
}

/// All files of the tree that the rules look at.
pub fn tree() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a workspace").to_path_buf();
    let mut files = Vec::new();
    walk(&root, &root, &mut files);
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

fn walk(root: &Path, folder: &Path, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path: PathBuf = entry.expect("the folder can be listed").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, files);
        } else if path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known)) {
            let bytes = fs::metadata(&path).expect("a listed file has a size").len();
            assert!(bytes <= FILE_BYTES_MAX, "{} has {bytes} bytes", path.display());
            let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let relative = path.strip_prefix(root).expect("the walk stays below the root");
            files.push(File::new(&relative.to_string_lossy().replace('\\', "/"), text));
        }
    }
}

/// What the blanking scanner is in.
#[derive(Clone, Copy, PartialEq)]
enum Inside {
    Code,
    LineComment,
    BlockComment(usize),
    Text,
    RawText(usize),
}

/// Overwrites comments and literals with spaces. Lines and offsets stay where they are.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let (mut at, mut inside) = (0, Inside::Code);
    while at < bytes.len() {
        let (length, next) = step(bytes, at, inside);
        let keep = inside == Inside::Code && next == Inside::Code && !(bytes[at] == b'\'' && length > 1);
        for (offset, byte) in out[at..at + length].iter_mut().enumerate() {
            if !keep && bytes[at + offset] != b'\n' {
                *byte = b' ';
            }
        }
        (at, inside) = (at + length, next);
    }
    String::from_utf8(out).expect("spaces are text, and only whole literals are overwritten")
}

/// How many bytes to take at `at`, and what the scanner is in after them.
fn step(bytes: &[u8], at: usize, inside: Inside) -> (usize, Inside) {
    let rest = &bytes[at..];
    match inside {
        Inside::Code if rest.starts_with(b"//") => (2, Inside::LineComment),
        Inside::Code if rest.starts_with(b"/*") => (2, Inside::BlockComment(1)),
        Inside::Code if rest[0] == b'"' => (1, Inside::Text),
        Inside::Code if rest[0] == b'r' && !is_word(bytes, at.wrapping_sub(1)) => raw_opening(rest),
        Inside::Code if rest[0] == b'\'' => (character(rest), Inside::Code),
        Inside::Code => (1, Inside::Code),
        Inside::LineComment => (1, if rest[0] == b'\n' { Inside::Code } else { inside }),
        Inside::BlockComment(depth) if rest.starts_with(b"/*") => (2, Inside::BlockComment(depth + 1)),
        Inside::BlockComment(1) if rest.starts_with(b"*/") => (2, Inside::Code),
        Inside::BlockComment(depth) if rest.starts_with(b"*/") => (2, Inside::BlockComment(depth - 1)),
        Inside::BlockComment(_) => (1, inside),
        Inside::Text if rest[0] == b'\\' => (rest.len().min(2), inside),
        Inside::Text => (1, if rest[0] == b'"' { Inside::Code } else { inside }),
        Inside::RawText(hashes) => {
            let closes = rest[0] == b'"' && rest[1..].iter().take_while(|byte| **byte == b'#').count() >= hashes;
            if closes { (1 + hashes, Inside::Code) } else { (1, inside) }
        }
    }
}

/// Whether the byte at `at` belongs to a word. The `b` of `br"..."` does not count.
fn is_word(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(|byte| (byte.is_ascii_alphanumeric() && *byte != b'b' && *byte != b'c') || *byte == b'_')
}

/// `r"`, `r#"`, ... or just the letter r.
fn raw_opening(rest: &[u8]) -> (usize, Inside) {
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    match rest.get(1 + hashes) {
        Some(b'"') => (2 + hashes, Inside::RawText(hashes)),
        _ => (1, Inside::Code),
    }
}

/// Length of the character literal at the start, or 1 for the quote of a lifetime.
fn character(rest: &[u8]) -> usize {
    if rest.get(1) == Some(&b'\\') {
        return rest.iter().skip(3).position(|byte| *byte == b'\'').map_or(1, |end| end + 4);
    }
    // A character is at most four bytes long.
    let end = (2..=5).find(|end| rest.get(*end) == Some(&b'\''));
    match end {
        Some(end) if std::str::from_utf8(&rest[1..end]).is_ok_and(|text| text.chars().count() == 1) => end + 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_become_blank_and_code_stays() {
        let cases = [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"f("x \" y", z)"#, "f(        , z)"),
            ("f(r#\"x \" y\"#, z)", "f(           , z)"),
            ("f(br\"x\", z)", "f(b    , z)"),
            ("f('x', '\\'', '\"', 'ä', z)", "f(   ,     ,    ,     , z)"),
            ("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}"),
            ("for r in 0..1 {}", "for r in 0..1 {}"),
        ];
        for (text, expected) in cases {
            let blanked = blank(text);
            assert_eq!(blanked.split_whitespace().collect::<Vec<_>>(), expected.split_whitespace().collect::<Vec<_>>());
            assert_eq!(blanked.len(), text.len());
        }
    }
}
