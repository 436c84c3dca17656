//! What commands print: errors for people and for programs, and times.

use serde_json::json;

/// Prints why a command was refused, on stderr.
pub(super) fn print_error(error: &anyhow::Error, as_json: bool) {
    let call = error.downcast_ref::<lethe_client::Error>();
    if as_json {
        let value = match call {
            Some(call) => json!({ "error": {
                "code": call.code.as_str_name().trim_start_matches("ERROR_CODE_"),
                "outcome": call.outcome.to_string(),
                "name": call.name,
                "message": call.message,
                "stack": call.stack,
            }}),
            None => json!({ "error": { "message": format!("{error:#}") } }),
        };
        eprintln!("{value}");
        return;
    }
    match call {
        Some(call) => {
            eprintln!("error: {}", call.describe());
            if !call.stack.is_empty() {
                eprintln!("{}", call.stack);
            }
        }
        None => eprintln!("error: {error:#}"),
    }
}

/// Whether output ended because nobody reads it any more, as in `lethe actor list Room | head`.
pub(super) fn nobody_reads(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

/// A time as `2026-11-21T18:30:00Z`.
pub(super) fn iso_time(since_1970_ms: u64) -> String {
    let (days, second) = (since_1970_ms / 86_400_000, since_1970_ms / 1000 % 86_400);
    let (mut year, mut day) = (1970, days);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    // 400 years have always the same number of days; what is left is walked.
    year += day / 146_097 * 400;
    day %= 146_097;
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", month + 1, day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_what_the_calendar_says() {
        let table = [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400_000, "2000-02-29T00:00:00Z"),
            (951_868_799_999, "2000-02-29T23:59:59Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00Z"),
            (1_795_286_096_000, "2026-11-21T18:34:56Z"),
            (253_402_300_799_000, "9999-12-31T23:59:59Z"),
        ];
        for (ms, text) in table {
            assert_eq!(iso_time(ms), text);
        }
        iso_time(u64::MAX);
    }
}
