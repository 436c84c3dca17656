//! Finds what an ES module imports, without parsing it whole.
//!
//! A lexer splits the text into tokens well enough that nothing inside comments, strings, templates or regular
//! expressions passes for an import; over the tokens, `import` and `export ... from` are recognized. Where the text
//! is not JavaScript the scan ends early: the engine reports the mistake, with its caret, when it compiles.

mod lexer;

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

#[cfg(test)]
mod tests {
    use super::*;

    /// Specifiers found, `?` before dynamic ones.
    fn found(text: &str) -> Vec<String> {
        let show = |import: Import| format!("{}{}", if import.dynamic { "?" } else { "" }, import.specifier);
        scan(text).into_iter().map(show).collect()
    }

    #[test]
    fn every_form_of_import_is_found() {
        let table = [
            (r#"import "./a.js""#, "./a.js"),
            (r#"import a from './a.js';"#, "./a.js"),
            (r#"import * as a from "./a.js""#, "./a.js"),
            (r#"import {a, b as c, "x y" as d} from"./a.js""#, "./a.js"),
            (r#"import a, {b} from "./a.js" with { type: "json" }"#, "./a.js"),
            (r#"import from from "./a.js""#, "./a.js"),
            (r#"import {from} from "./a.js""#, "./a.js"),
            (r#"import defer * as a from "./a.js""#, "./a.js"),
            ("import/*x*/a/*y*/from//z\n\"./a.js\"", "./a.js"),
            (r#"export * from "./a.js""#, "./a.js"),
            (r#"export * as a from "./a.js""#, "./a.js"),
            (r#"export {a, b as default} from "./a.js""#, "./a.js"),
            (r#"const a = await import("./a.js")"#, "?./a.js"),
            (r#"f(() => { import("./a.js", {with: {}}) })"#, "?./a.js"),
            (r#"`${import("./a.js")}`"#, "?./a.js"),
            (r#"import "./\x61.\u006As\u{}""#, "./a.js\\u{}"),
            ("#!/usr/bin/env x\nimport './a.js'", "./a.js"),
        ];
        for (text, specifier) in table {
            assert_eq!(found(text), [specifier], "{text}");
        }
    }

    #[test]
    fn what_only_looks_like_an_import_is_not_one() {
        let table = [
            r#"// import "./a.js""#,
            r#"/* import "./a.js" */"#,
            r#"const s = 'import "./a.js"'"#,
            r#"const s = `import "./a.js" ${"import './b.js'"} import "./c.js"`"#,
            r#"const r = /import "a.js"/"#,
            r#"const r = /[/"]import "a.js"/"#,
            r#"x.import("./a.js")"#,
            r#"x?.import("./a.js")"#,
            r#"import.meta.url; "./a.js""#,
            r#"import(name)"#,
            r#"import("./" + name)"#,
            r#"({ import: "./a.js" })"#,
            r#"class A { import() { return "./a.js" } }"#,
            r#"export const a = "./a.js""#,
            r#"export default "./a.js""#,
            "export { a }\n'./a.js'",
            "export { a };from\n'./a.js'",
            r#"export {}; const from = "./a.js""#,
        ];
        for text in table {
            assert_eq!(found(text), Vec::<String>::new(), "{text}");
        }
    }

    #[test]
    fn a_slash_is_a_division_or_a_regular_expression_by_what_stands_before_it() {
        // Taken for the other kind, the quote in each line would swallow the import after it.
        let table = [
            r#"a / b; "/" ; import "./a.js""#,
            r#"a() / 2; x = "/"; import "./a.js""#,
            r#"a[0] / 2; x = "/"; import "./a.js""#,
            r#"if (a) /"/.test(b); import "./a.js""#,
            r#"while (f(a)) /"/.test(b); import "./a.js""#,
            r#"return_ / 2; "/"; import "./a.js""#,
            r#"f(/"/); import "./a.js""#,
            r#"a = b ? /"/ : /'/; import "./a.js""#,
            r#"typeof /"/; import "./a.js""#,
            r#"x.typeof / 2; "/"; import "./a.js""#,
            r#"if (a) {} /"/.test(b); import "./a.js""#,
            r#"a = {} / 2; "/"; import "./a.js""#,
            r#"f({ a: 1 } / 2, "/"); import "./a.js""#,
            r#"() => {}; /"/; import "./a.js""#,
            r#"a++ / 2; "/"; import "./a.js""#,
            r#"`x` / 2; "/"; import "./a.js""#,
            r#"`${{}}` / 2; "/"; import "./a.js""#,
            r#"1. / 2; "/"; import "./a.js""#,
            r#"a = /[\]"/]/ / 2; "/"; import "./a.js""#,
            r#"function f() { return /"/ } import "./a.js""#,
            r#"x = y => ({}) / 2; "/"; import "./a.js""#,
            r#"this / 2; "/"; import "./a.js""#,
        ];
        for text in table {
            assert_eq!(found(text), ["./a.js"], "{text}");
        }
    }

    #[test]
    fn several_imports_come_in_order_with_their_places() {
        let text = "import a from 'x'\nexport { a }\nimport b from 'y'\nexport * from 'z'";
        let places: Vec<_> = scan(text).into_iter().map(|import| (import.specifier, import.at)).collect();
        assert_eq!(places, [("x".into(), 14), ("y".into(), 45), ("z".into(), 63)]);
    }

    #[test]
    fn broken_text_ends_the_scan_without_a_panic() {
        for text in
            ["import", "import {", "import 'a", "`${", "`${`", "/a", "export {", "import(", "}}}", "\\", "'\\", "é"]
        {
            scan(text);
        }
    }
}
