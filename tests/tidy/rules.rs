//! Rules about one file at a time: size, header, name, words.

use crate::source::File;

const LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;
/// Kinds of files that are code, and so have a length limit.
const CODE: [&str; 6] = ["rs", "js", "mjs", "proto", "html", "css"];

pub fn file_length(file: &File) -> Vec<String> {
    let lines = file.text.lines().count();
    let too_long = CODE.contains(&file.extension()) && lines > LINES_MAX;
    too_long.then(|| format!("{lines} lines")).into_iter().collect()
}

pub fn function_length(file: &File) -> Vec<String> {
    let mut complaints = Vec::new();
    for at in words(&file.code, "fn") {
        let Some((start, end)) = body(&file.code, at) else { continue };
        let lines = file.code[at..end].matches('\n').count() + 1;
        if lines > FUNCTION_LINES_MAX {
            let name: String = file.code[at + 2..start].trim_start().chars().take_while(|c| is_word(*c)).collect();
            complaints.push(format!("line {}: fn {name} has {lines} lines", file.line(at)));
        }
    }
    complaints
}

/// Start and end of the braces of the function at `at`; `None` for a declaration without a body or a `fn` type.
fn body(code: &str, at: usize) -> Option<(usize, usize)> {
    let name = code[at + 2..].trim_start().chars().next()?;
    if !is_word(name) {
        return None;
    }
    let (mut brackets, mut start) = (0_i32, None);
    let mut braces = 0_i32;
    for (offset, c) in code[at..].char_indices() {
        match c {
            '(' | '[' => brackets += 1,
            ')' | ']' => brackets -= 1,
            ';' if brackets == 0 && start.is_none() => return None,
            '{' => {
                start.get_or_insert(at + offset);
                braces += 1;
            }
            '}' => {
                braces -= 1;
                if braces == 0 {
                    return start.map(|start| (start, at + offset + 1));
                }
            }
            _ => {}
        }
    }
    None
}

pub fn header(file: &File) -> Vec<String> {
    let first = file.text.lines().find(|line| !line.starts_with("\"use strict\"")).unwrap_or("");
    let is_javascript = matches!(file.extension(), "js" | "mjs");
    let complaint = if file.is_rust() && !first.starts_with("//!") {
        Some("does not open with //!")
    } else if is_javascript && !(first.starts_with("//") || first.starts_with("/*")) {
        Some("does not open with a comment")
    } else {
        None
    };
    complaint.map(str::to_string).into_iter().collect()
}

pub fn file_name(file: &File) -> Vec<String> {
    let banned = ["util", "utils", "common", "helper", "helpers", "misc", "manager"];
    let parts = file.path.split('/').map(|part| part.split('.').next().unwrap_or(part));
    parts.filter(|part| banned.contains(part)).map(|part| format!("`{part}` says nothing")).collect()
}

pub fn unsafe_code(file: &File) -> Vec<String> {
    let allowed = file.path.starts_with("runtime/");
    let lines: Vec<&str> = file.text.lines().collect();
    let mut complaints = Vec::new();
    for at in words(&file.code, "unsafe") {
        let line = file.line(at);
        if is_function_type(&file.code[at..]) {
            continue;
        }
        if !allowed {
            complaints.push(format!("line {line}: unsafe outside runtime/"));
        } else if !says_why(&lines, line) {
            complaints.push(format!("line {line}: unsafe without SAFETY"));
        }
    }
    complaints
}

/// `unsafe extern "C" fn(...)`: the type of a function is only named, nothing unsafe is done.
fn is_function_type(code: &str) -> bool {
    let rest = code.trim_start_matches("unsafe").trim_start().trim_start_matches("extern").trim_start();
    rest.strip_prefix("fn").is_some_and(|rest| rest.trim_start().starts_with('('))
}

/// Whether the comment on or directly above this line (from 1) has a SAFETY reason. Attributes and the start of the
/// statement may stand between.
fn says_why(lines: &[&str], line: usize) -> bool {
    const LOOK_BACK: usize = 12;
    let reason = |text: &str| text.contains("SAFETY:") || text.contains("# Safety");
    if reason(lines[line - 1]) {
        return true;
    }
    let above = lines[..line - 1].iter().rev().take(LOOK_BACK);
    for text in above {
        let text = text.trim();
        if reason(text) {
            return true;
        }
        let ends_statement = text.is_empty() || text.ends_with(';') || text.ends_with('}');
        if !text.starts_with("//") && ends_statement {
            return false;
        }
    }
    false
}

pub fn wall_clock(file: &File) -> Vec<String> {
    if file.path.ends_with("/clock.rs") {
        return Vec::new();
    }
    phrases(file, &file.code, &["SystemTime::now"])
}

pub fn unfinished(file: &File) -> Vec<String> {
    let mut complaints = phrases(file, &file.code, &["todo!", "unimplemented!", "dbg!", "allow(dead_code)"]);
    if CODE.contains(&file.extension()) {
        // Spelled in two parts, or this file would break its own rule.
        complaints.extend(phrases(file, &file.text, &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")]));
    }
    complaints
}

pub fn tests_that_lie(file: &File) -> Vec<String> {
    let mut complaints = phrases(file, &file.code, &["#[ignore"]);
    // Tests are in folders of their own, or stand at the end of the file that they test.
    let in_folder = file.path.starts_with("tests/") || file.path.contains("/tests/");
    let from = if in_folder { Some(0) } else { file.code.find("#[cfg(test)]") };
    let sleeps = file.code.match_indices("thread::sleep").map(|(at, _)| at);
    let in_tests = sleeps.filter(|at| from.is_some_and(|from| *at >= from));
    complaints.extend(in_tests.map(|at| format!("line {}: thread::sleep", file.line(at))));
    complaints
}

pub fn machine_paths(file: &File) -> Vec<String> {
    let places = [concat!("/ro", "ot/"), concat!("/Us", "ers/")];
    let named = |(number, line): (usize, &str)| {
        let found = places.iter().any(|place| line.contains(place));
        found.then(|| format!("line {}: names a place on one machine", number + 1))
    };
    file.text.lines().enumerate().filter_map(named).collect()
}

/// One complaint for each occurrence of a phrase that does not continue a longer word.
fn phrases(file: &File, text: &str, phrases: &[&str]) -> Vec<String> {
    let of_phrase = |phrase: &&str| -> Vec<String> {
        let starts = text.match_indices(*phrase).map(|(at, _)| at).filter(|at| !text[..*at].ends_with(is_word));
        starts.map(|at| format!("line {}: {phrase}", file.line(at))).collect()
    };
    phrases.iter().flat_map(of_phrase).collect()
}

/// Offsets of a whole word in code.
pub fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    let whole = move |at: &usize| !code[..*at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word);
    code.match_indices(word).map(|(at, _)| at).filter(whole)
}

pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
