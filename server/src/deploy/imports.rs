//! Finds what an ES module imports, without parsing it whole.
//!
//! A lexer splits the text into tokens well enough that nothing inside comments, strings, templates or regular
//! expressions passes for an import; over the tokens, `import` and `export ... from` are recognized. Where the text
//! is not JavaScript the scan ends early: the engine reports the mistake, with its caret, when it compiles.

mod lexer;

#[cfg(test)]
mod tests;

use self::lexer::{Lexer, Token, TokenKind};

/// One import of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Import {
    /// What is imported, escapes resolved.
    pub specifier: String,
    /// Byte offset of the specifier's quote.
    pub at: usize,
    /// `import("...")` rather than a declaration.
    pub dynamic: bool,
}

/// All imports whose specifier is a string literal, in the text's order.
pub(super) fn scan(text: &str) -> Vec<Import> {
    let mut scanner = Scanner { text, lexer: Lexer::new(text), found: Vec::new() };
    let mut token = scanner.lexer.next();
    while let Some(current) = token {
        token = match scanner.keyword(&current) {
            Some("import") => scanner.after_import(),
            Some("export") if scanner.lexer.at_top_level() => scanner.after_export(),
            _ => scanner.lexer.next(),
        };
    }
    scanner.found
}

struct Scanner<'a> {
    text: &'a str,
    lexer: Lexer<'a>,
    found: Vec<Import>,
}

impl<'a> Scanner<'a> {
    /// The word `token` is, unless it is a property (`x.import`).
    fn keyword(&self, token: &Token) -> Option<&'a str> {
        (token.kind == TokenKind::Word && !token.after_dot).then(|| self.word(token))
    }

    fn word(&self, token: &Token) -> &'a str {
        &self.text[token.start..token.end]
    }

    fn push(&mut self, token: &Token, dynamic: bool) {
        let specifier = unescape(&self.text[token.start + 1..token.end - 1]);
        self.found.push(Import { specifier, at: token.start, dynamic });
    }

    /// Reads on after `import`; gives back the first token that is not part of it.
    fn after_import(&mut self) -> Option<Token> {
        let top_level = self.lexer.at_top_level();
        let next = self.lexer.next()?;
        match next.kind {
            TokenKind::Punct(b'(') => {
                let argument = self.lexer.next()?;
                if argument.kind != TokenKind::Text {
                    return Some(argument);
                }
                let after = self.lexer.next();
                // Not a literal alone: `import("./" + name)`.
                if let Some(Token { kind: TokenKind::Punct(b')' | b','), .. }) = after {
                    self.push(&argument, true);
                }
                after
            }
            TokenKind::Text if top_level => {
                self.push(&next, false);
                self.lexer.next()
            }
            TokenKind::Word | TokenKind::Punct(b'{' | b'*') if top_level => self.clause(next),
            // `import.meta`, `{ import: 1 }`, or not JavaScript.
            _ => Some(next),
        }
    }

    /// Reads on after `export`: `export * from "x"`, `export * as y from "x"`, `export { a } from "x"`.
    fn after_export(&mut self) -> Option<Token> {
        let next = self.lexer.next()?;
        match next.kind {
            TokenKind::Punct(b'{' | b'*') => self.clause(next),
            _ => Some(next),
        }
    }

    /// Reads `a, { b as c } from "x"` from `token` on, as far as it is one.
    fn clause(&mut self, mut token: Token) -> Option<Token> {
        let (mut inside_braces, mut after_from) = (false, false);
        loop {
            match token.kind {
                TokenKind::Text if after_from => {
                    self.push(&token, false);
                    return self.lexer.next();
                }
                TokenKind::Punct(b'{') if !inside_braces => inside_braces = true,
                TokenKind::Punct(b'}') if inside_braces => inside_braces = false,
                TokenKind::Punct(b',' | b'*') | TokenKind::Word => {}
                TokenKind::Text if inside_braces => {}
                _ => return Some(token),
            }
            // After `export { a }` a new statement may begin, with or without a semicolon.
            let ends = matches!(token.kind, TokenKind::Punct(b'}'));
            after_from = !inside_braces && token.kind == TokenKind::Word && self.word(&token) == "from";
            token = self.lexer.next()?;
            if ends && !(token.kind == TokenKind::Word && self.word(&token) == "from") {
                return Some(token);
            }
        }
    }
}

/// Resolves the escapes of a string literal's inside. Odd ones stay as they are; no file is called that.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let (symbol, length) = match escape.as_bytes().first() {
            Some(b'x') => (code_point(escape.get(1..3)), 3),
            Some(b'u') if escape[1..].starts_with('{') => {
                let end = escape.find('}').unwrap_or(1);
                (code_point(escape.get(2..end)), end + 1)
            }
            Some(b'u') => (code_point(escape.get(1..5)), 5),
            _ => (escape.chars().next(), escape.chars().next().map_or(0, char::len_utf8)),
        };
        match symbol {
            Some(symbol) => {
                text.push(symbol);
                rest = &escape[length..];
            }
            None => {
                text.push('\\');
                rest = escape;
            }
        }
    }
    text + rest
}

fn code_point(hex: Option<&str>) -> Option<char> {
    char::from_u32(u32::from_str_radix(hex?, 16).ok()?)
}
