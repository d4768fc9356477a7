//! Audit logs of an API server, which hold what any client sent: whole lines, and a log in pieces.
#![no_main]

use kluis::model::{Time, displayed};
use kluis::ops::audit::event::{self, Line, Need};
use kluis::ops::audit::join::{Join, Joined, Known, Standing};

fn credentials(line: &Line<'_>) -> Vec<Vec<String>> {
    let users = line.events.iter().filter_map(|event| event.user.as_ref());
    users.map(|user| user.credentials.iter().map(|id| String::from(&**id)).collect()).collect()
}

fn joined(known: &Known, pieces: &[&[u8]], longest: usize) -> Joined {
    let mut join = Join::with_lines_of(known, longest);
    join.begin("log");
    pieces.iter().for_each(|piece| join.feed(piece));
    join.end();
    join.finish()
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((&cut, log)) = bytes.split_first() else { return };
    let mut known = Known::default();
    known.add("a".repeat(64), 0, Standing::Recorded);
    known.add("b".repeat(64), 1, Standing::Denied(Some(Time::from_unix(1_793_534_400))));
    known.add("c".repeat(64), 2, Standing::Denied(None));
    for line in log.split(|byte| *byte == b'\n') {
        let (few, all) = (event::read(line, Need::Credential), event::read(line, Need::All));
        // Where both are whole, they name the same.
        if few.fault.is_none() && all.fault.is_none() {
            assert_eq!(credentials(&few), credentials(&all));
        }
    }
    for longest in [1 << 20, 1 + usize::from(cut)] {
        let whole = joined(&known, &[log], longest);
        let (before, after) = log.split_at(usize::from(cut) % (log.len() + 1));
        assert_eq!(joined(&known, &[before, after], longest), whole);
        assert!(whole.requests <= whole.events);
        // Nothing of a client's steers a terminal.
        for used in &whole.unknown {
            assert!(used.users.iter().chain(&used.groups).chain(&used.addresses).all(|text| displayed(text) == *text));
        }
    }
});
