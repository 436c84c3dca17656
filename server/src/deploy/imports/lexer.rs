//! A JavaScript lexer that knows where strings, templates, comments and regular expressions end.
//!
//! Whether `/` begins a regular expression depends on grammar; the token before it decides, with a stack of open
//! brackets for the cases `)` and `}`.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Identifier, keyword or private name.
    Word,
    /// String literal, quotes included.
    Text,
    /// Number, regular expression, or the end of a template: something with a value.
    Value,
    /// `++` or `--`
    Step,
    /// `=>`
    Arrow,
    /// Any other punctuation, by its byte.
    Punct(u8),
}

/// A piece of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
    /// A dot stands before it: a word here is a property.
    pub after_dot: bool,
}

/// An open bracket, and what a `/` after its closing means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    /// `(` after `if`, `while`, `for`, `with`: a statement follows its `)`.
    Head,
    /// Any other `(`, and `[`.
    Group,
    /// `{` of a block, body or class.
    Block,
    /// `{` of an object literal.
    Object,
    /// `${` in a template.
    Hole,
}

/// Words after which an expression begins.
const BEFORE_EXPRESSION: &[&str] = &[
    "return",
    "typeof",
    "instanceof",
    "in",
    "of",
    "new",
    "delete",
    "void",
    "throw",
    "case",
    "do",
    "else",
    "await",
    "yield",
    "default",
    "extends",
];
/// Words that a block follows, so that `{` is no object literal.
const BEFORE_BLOCK: &[&str] = &["do", "else"];
const STATEMENT_HEADS: &[&str] = &["if", "while", "for", "with"];
/// Deepest nesting of brackets.
const DEPTH_MAX: usize = 100_000;

pub(super) struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    open: Vec<Open>,
    previous: Option<Token>,
    /// What the bracket that `previous` closes was.
    closed: Option<Open>,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        let at = if text.starts_with("#!") { text.find('\n').unwrap_or(text.len()) } else { 0 };
        Self { text, bytes: text.as_bytes(), at, open: Vec::new(), previous: None, closed: None }
    }

    /// Whether no bracket is open.
    pub(super) fn at_top_level(&self) -> bool {
        self.open.is_empty()
    }

    /// The next token; `None` at the end, and where the text stops being JavaScript.
    pub(super) fn next(&mut self) -> Option<Token> {
        self.skip_blank()?;
        let start = self.at;
        let after_dot = self.previous.is_some_and(|previous| previous.kind == TokenKind::Punct(b'.'));
        let (kind, closed) = self.token()?;
        let token = Token { kind, start, end: self.at, after_dot };
        self.previous = Some(token);
        self.closed = closed;
        Some(token)
    }

    fn token(&mut self) -> Option<(TokenKind, Option<Open>)> {
        let byte = *self.bytes.get(self.at)?;
        let kind = match byte {
            b'"' | b'\'' => self.string(byte)?,
            b'`' => {
                self.at += 1;
                self.template()?
            }
            b'0'..=b'9' => self.number(),
            b'.' if self.bytes.get(self.at + 1).is_some_and(u8::is_ascii_digit) => self.number(),
            b'/' if self.regex_may_begin() && self.regex() => TokenKind::Value,
            b'(' => {
                let head = self.previous_word().is_some_and(|word| STATEMENT_HEADS.contains(&word));
                self.enter(if head && !self.previous_is_property() { Open::Head } else { Open::Group })?;
                TokenKind::Punct(byte)
            }
            b'[' => {
                self.enter(Open::Group)?;
                TokenKind::Punct(byte)
            }
            b'{' => {
                let open = self.brace();
                self.enter(open)?;
                TokenKind::Punct(byte)
            }
            b')' | b']' | b'}' => {
                self.at += 1;
                let closed = self.open.pop();
                if byte == b'}' && closed == Some(Open::Hole) {
                    return Some((self.template()?, None));
                }
                return Some((TokenKind::Punct(byte), closed));
            }
            b'+' | b'-' if self.bytes.get(self.at + 1) == Some(&byte) => {
                self.at += 2;
                TokenKind::Step
            }
            b'=' if self.bytes.get(self.at + 1) == Some(&b'>') => {
                self.at += 2;
                TokenKind::Arrow
            }
            b'.' if self.bytes[self.at..].starts_with(b"...") => {
                // A spread is no property access.
                self.at += 3;
                TokenKind::Punct(b',')
            }
            _ if is_word(byte) => self.word(),
            _ => {
                self.at += 1;
                TokenKind::Punct(byte)
            }
        };
        Some((kind, None))
    }

    fn enter(&mut self, open: Open) -> Option<()> {
        self.at += 1;
        self.open.push(open);
        (self.open.len() <= DEPTH_MAX).then_some(())
    }

    /// Skips white space and comments; `None` in a comment that never ends.
    fn skip_blank(&mut self) -> Option<()> {
        loop {
            let rest = &self.text[self.at..];
            self.at += rest.len() - rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}').len();
            let rest = &self.text[self.at..];
            if rest.starts_with("//") {
                self.at += rest.find(['\n', '\r', '\u{2028}', '\u{2029}']).unwrap_or(rest.len());
            } else if let Some(comment) = rest.strip_prefix("/*") {
                self.at += 2 + comment.find("*/")? + 2;
            } else {
                return Some(());
            }
        }
    }

    fn previous_word(&self) -> Option<&'a str> {
        let previous = self.previous.filter(|previous| previous.kind == TokenKind::Word)?;
        Some(&self.text[previous.start..previous.end])
    }

    fn previous_is_property(&self) -> bool {
        self.previous.is_some_and(|previous| previous.after_dot)
    }

    fn regex_may_begin(&self) -> bool {
        let Some(previous) = self.previous else { return true };
        match previous.kind {
            TokenKind::Value | TokenKind::Text | TokenKind::Step => false,
            TokenKind::Arrow => true,
            TokenKind::Word => {
                !previous.after_dot && self.previous_word().is_some_and(|word| BEFORE_EXPRESSION.contains(&word))
            }
            TokenKind::Punct(b')') => self.closed == Some(Open::Head),
            TokenKind::Punct(b'}') => self.closed == Some(Open::Block),
            TokenKind::Punct(b']') => false,
            TokenKind::Punct(_) => true,
        }
    }

    /// What the `{` at hand opens.
    fn brace(&self) -> Open {
        let Some(previous) = self.previous else { return Open::Block };
        match previous.kind {
            TokenKind::Arrow | TokenKind::Punct(b')' | b';' | b'{' | b'}') => Open::Block,
            // A label or `case` in a block; a property or a choice elsewhere.
            TokenKind::Punct(b':') => match self.open.last() {
                None | Some(Open::Block) => Open::Block,
                Some(_) => Open::Object,
            },
            TokenKind::Punct(_) => Open::Object,
            TokenKind::Word => {
                let word = self.previous_word().unwrap_or_default();
                let expression = BEFORE_EXPRESSION.contains(&word) && !BEFORE_BLOCK.contains(&word);
                if expression && !previous.after_dot { Open::Object } else { Open::Block }
            }
            TokenKind::Value | TokenKind::Text | TokenKind::Step => Open::Block,
        }
    }

    fn string(&mut self, quote: u8) -> Option<TokenKind> {
        let mut at = self.at + 1;
        loop {
            match *self.bytes.get(at)? {
                byte if byte == quote => break,
                b'\\' => at += 2,
                b'\n' | b'\r' => return None,
                _ => at += 1,
            }
        }
        self.at = at + 1;
        Some(TokenKind::Text)
    }

    /// From after the backtick, or after the `}` of a hole, to the next hole or the end of the template.
    fn template(&mut self) -> Option<TokenKind> {
        loop {
            match *self.bytes.get(self.at)? {
                b'`' => {
                    self.at += 1;
                    return Some(TokenKind::Value);
                }
                b'\\' => self.at += 2,
                b'$' if self.bytes.get(self.at + 1) == Some(&b'{') => {
                    self.at += 1;
                    self.enter(Open::Hole)?;
                    return Some(TokenKind::Punct(b','));
                }
                _ => self.at += 1,
            }
        }
    }

    fn number(&mut self) -> TokenKind {
        let mut previous = 0;
        while let Some(&byte) = self.bytes.get(self.at) {
            let exponent_sign = matches!(byte, b'+' | b'-') && matches!(previous, b'e' | b'E');
            if !(byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_') || exponent_sign) {
                break;
            }
            previous = byte;
            self.at += 1;
        }
        TokenKind::Value
    }

    /// Takes a regular expression with its flags; false, and nothing taken, if none ends on this line.
    fn regex(&mut self) -> bool {
        let (mut at, mut in_class) = (self.at + 1, false);
        loop {
            match self.bytes.get(at) {
                None | Some(b'\n' | b'\r') => return false,
                Some(b'\\') => at += 1,
                Some(b'[') => in_class = true,
                Some(b']') => in_class = false,
                Some(b'/') if !in_class => break,
                Some(_) => {}
            }
            at += 1;
        }
        self.at = at + 1;
        while self.bytes.get(self.at).is_some_and(|&byte| is_word(byte)) {
            self.at += 1;
        }
        true
    }

    fn word(&mut self) -> TokenKind {
        let rest = &self.text[self.at..];
        let ends =
            |c: char| !(c == '\\' || (c.is_ascii() && is_word(c as u8)) || (!c.is_ascii() && !c.is_whitespace()));
        self.at += rest.find(ends).unwrap_or(rest.len()).max(1);
        TokenKind::Word
    }
}

/// Whether a byte may stand in a word. Bytes over ASCII count: what they are matters nowhere here.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'#' | b'\\') || byte >= 0x80
}
