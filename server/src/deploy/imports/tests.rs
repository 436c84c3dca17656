//! What is an import, what only looks like one, and where strings, templates and regular expressions end.

use proptest::prelude::*;

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
        r#"x.if(a) / 2; "/"; import "./a.js""#,
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
    for text in ["import", "import {", "import 'a", "`${", "`${`", "/a", "export {", "import(", "}}}", "\\", "'\\", "é"]
    {
        scan(text);
    }
}

proptest! {
    #[test]
    fn any_text_is_scanned_to_an_end(text in r#"([`'"/{}()\[\]\\$#.;\n aé+*=>]|import|export|from|return|\PC){0,60}"#) {
        for import in scan(&text) {
            prop_assert!(matches!(text.as_bytes()[import.at], b'"' | b'\''));
        }
    }

    #[test]
    fn an_import_is_found_whatever_complete_statement_stands_before_it(
        before in prop::collection::vec(prop::sample::select(STATEMENTS), 0..6),
    ) {
        let text = format!("{}import \"./a.js\"", before.concat());
        prop_assert_eq!(found(&text), ["./a.js"], "{}", text);
    }
}

const STATEMENTS: &[&str] = &[
    "a = b / c;",
    "a = /[/'\"`]/g;",
    "'it\\'s';",
    "`a${ `b${'}'}` }c`;",
    "if (a) /'/.test(b);\n",
    "for (;;) { break }\n",
    "function f() { return /}/ }\n",
    "class A { static { /'/ } get x() { return {} / 2 } }\n",
    "/* ' */",
    "// \"\n",
    "a = { b: { c: /`/ } };",
    "(() => { a /= 2 })();",
    "x = y ? {} : /\\//;",
    "label: { }\n",
    "a++ / b; \"/\";",
    "f`x` / 2;",
];
