//! Joins an API server's audit log with what the records say was issued. Reads as it comes, in pieces of any size: what it
//! keeps does not grow with the log, but with the number of certificates and up to the limits below.

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;

use super::event::{self, Event, Need};
use crate::model::{Time, displayed};

/// The longest line that is read whole. API servers take requests of 3 MiB; answers can be longer.
pub const LONGEST_LINE: usize = 16 << 20;
/// Requests of one credential that are kept.
pub const KEPT_OF_ONE: usize = 1_000;
/// Requests that are kept in all, beside the first ten of each credential.
pub const KEPT: usize = 20_000;
/// Credentials that are told apart; the events of more are counted together.
pub const CREDENTIALS: usize = 1_000;
/// Lines that are named one by one.
pub const NAMED_LINES: usize = 100;
/// Of each credential, at least so many requests are kept, as the human form shows them.
pub const FIRST: usize = 10;

/// What the records say of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It is recorded.
    Recorded,
    /// It is recorded, and not to be used since then; none: never.
    Denied(Option<Time>),
    /// No record that counts names it for this cluster.
    Unknown,
}

/// Certificates by the digits of their SHA-256: their number in a list of the caller's, and their standing.
#[derive(Debug, Clone, Default)]
pub struct Known(HashMap<String, (usize, Standing)>);

impl Known {
    /// Adds one.
    pub fn add(&mut self, sha256: String, number: usize, standing: Standing) {
        self.0.insert(sha256, (number, standing));
    }

    fn find(&self, credential: &str) -> Option<(usize, Standing)> {
        event::x509(credential).and_then(|digits| self.0.get(digits)).copied()
    }

    fn counts(&self, credential: &str) -> bool {
        self.find(credential).is_some_and(|(_, standing)| standing != Standing::Unknown)
    }
}

/// One request to an API server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the words of Kubernetes")]
pub struct ApiRequest {
    pub audit_id: String,
    /// When it arrived, as the log says it.
    pub time: String,
    /// The last stage that was seen.
    pub stage: String,
    pub verb: String,
    /// `pods`, `pods/log`, `deployments.apps`; empty for requests of no resource.
    pub resource: String,
    pub namespace: String,
    pub name: String,
    pub uri: String,
    /// All but the last are the client's own claim.
    pub source_ips: Vec<String>,
    /// Whom the client impersonated.
    pub impersonated: Option<String>,
    /// The HTTP status; none before the response.
    pub code: Option<u16>,
}

/// What was done with one credential.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Use {
    /// Its id as the log has it: `X509SHA256=…`.
    pub credential_id: String,
    /// The names under which the API server knew it; one, as a rule.
    pub users: BTreeSet<String>,
    /// Its groups.
    pub groups: BTreeSet<String>,
    /// Its first request.
    pub first: Option<Time>,
    /// Its last request.
    pub last: Option<Time>,
    /// The addresses that connected; others, that clients merely claim, are with the requests.
    pub addresses: BTreeSet<String>,
    /// Events of all stages.
    pub events: u64,
    /// Requests.
    pub requests: u64,
    /// The first of them, in the order of the log.
    pub listed: Vec<ApiRequest>,
    /// How many are not listed.
    pub left_out: u64,
    #[serde(skip)]
    seen: HashMap<[String; 4], usize>,
}

/// What was done with a recorded certificate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Events of all stages.
    pub events: u64,
    /// Requests that ended.
    pub requests: u64,
}

/// A line that is no event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BadLine {
    /// The file, as it was named.
    pub file: String,
    /// The number, from 1.
    pub line: u64,
    /// What is wrong.
    pub why: String,
    /// Whether it has the id of a certificate that nobody recorded somewhere.
    pub names_unknown: bool,
}

/// What a log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Joined {
    /// Bytes read.
    pub bytes: u64,
    /// Lines that are not empty.
    pub lines: u64,
    /// Events.
    pub events: u64,
    /// Requests that ended: events of the stages that each request reaches once.
    pub requests: u64,
    /// By the numbers of `Known`.
    pub recorded: HashMap<usize, Count>,
    /// Events of credentials that are no X.509 certificates: tokens.
    pub tokens: u64,
    /// Events that name no credential.
    pub without_credential: u64,
    /// Uses of certificates that no record names, in the order of the log.
    pub unknown: Vec<Use>,
    /// Events of more such certificates than are told apart.
    pub unknown_beyond: u64,
    /// Uses of certificates after they were denied, with their numbers, in the order of the log.
    pub denied: Vec<(usize, Use)>,
    /// Lines that are no events, as far as they are named.
    pub bad: Vec<BadLine>,
    /// How many there are.
    pub bad_lines: u64,
}

/// A join under way.
pub struct Join<'k> {
    known: &'k Known,
    joined: Joined,
    /// Where in `joined.unknown` and `joined.denied` a credential is.
    places: HashMap<String, usize>,
    denied: HashMap<usize, usize>,
    kept: usize,
    file: String,
    line: u64,
    /// The beginning of a line that goes on in the next piece.
    carried: Vec<u8>,
    /// The line was cut; the rest of it is passed over.
    cut: bool,
    longest: usize,
}

impl<'k> Join<'k> {
    /// A join with these certificates.
    pub fn new(known: &'k Known) -> Self {
        Self::with_lines_of(known, LONGEST_LINE)
    }

    /// As `new`, with another longest line.
    pub fn with_lines_of(known: &'k Known, longest: usize) -> Self {
        Self {
            known,
            joined: Joined::default(),
            places: HashMap::new(),
            denied: HashMap::new(),
            kept: 0,
            file: String::new(),
            line: 0,
            carried: Vec::new(),
            cut: false,
            longest,
        }
    }

    /// Begins a file.
    pub fn begin(&mut self, file: &str) {
        self.file = displayed(file);
        self.line = 0;
    }

    /// Reads the next piece of the file.
    pub fn feed(&mut self, piece: &[u8]) {
        use std::io::BufRead as _;
        self.joined.bytes += piece.len() as u64;
        let mut rest = piece;
        while !rest.is_empty() {
            let whole = rest;
            // The search of the standard library, which is the system's `memchr`; on a slice it can't fail.
            let length = rest.skip_until(b'\n').unwrap_or(whole.len());
            let (part, ends) = match whole[..length].split_last() {
                Some((b'\n', part)) => (part, true),
                _ => (&whole[..length], false),
            };
            self.part(part, ends);
        }
    }

    /// Ends the file: what was carried is its last line.
    pub fn end(&mut self) {
        if self.cut || !self.carried.is_empty() {
            self.part(&[], true);
        }
    }

    /// What was found.
    pub fn finish(self) -> Joined {
        self.joined
    }

    fn part(&mut self, part: &[u8], ends: bool) {
        if self.cut {
            self.cut = !ends;
            return;
        }
        let room = self.longest - self.carried.len();
        if part.len() > room {
            self.carried.extend_from_slice(&part[..room]);
            let line = std::mem::take(&mut self.carried);
            self.line += 1;
            self.cut_line(&line);
            self.cut = !ends;
        } else if !ends {
            self.carried.extend_from_slice(part);
        } else if self.carried.is_empty() {
            self.line += 1;
            self.whole_line(part);
        } else {
            self.carried.extend_from_slice(part);
            let mut line = std::mem::take(&mut self.carried);
            self.line += 1;
            self.whole_line(&line);
            line.clear();
            self.carried = line;
        }
    }

    fn whole_line(&mut self, line: &[u8]) {
        if line.iter().all(u8::is_ascii_whitespace) {
            return;
        }
        self.joined.lines += 1;
        let read = event::read(line, Need::Credential);
        match read.fault {
            None => self.events(line, &read.events),
            Some(why) => {
                let unknown = names_unknown(line, self.known);
                self.bad_line(why, unknown);
            }
        }
    }

    /// A line that is too long to be kept is judged by its beginning, where an API server writes who asked: else whoever
    /// asks for a long answer, and the policy has answers logged, would not be seen.
    fn cut_line(&mut self, line: &[u8]) {
        self.joined.lines += 1;
        let events = event::read(line, Need::Credential).events;
        // Of whom nobody knows who asked, nothing can be said.
        let known = events.iter().take_while(|event| event.user.is_some()).count();
        self.events(line, &events[..known]);
        self.bad_line(format!("it has more than {} bytes, and was judged by its beginning", self.longest), false);
    }

    fn bad_line(&mut self, why: String, names_unknown: bool) {
        self.joined.bad_lines += 1;
        // One that names a certificate nobody recorded is worth the place of one that does not.
        if self.joined.bad.len() >= NAMED_LINES {
            let other = self.joined.bad.iter().rposition(|bad| !bad.names_unknown);
            match other.filter(|_| names_unknown) {
                Some(other) => drop(self.joined.bad.remove(other)),
                None => return,
            }
        }
        let bad = BadLine { file: self.file.clone(), line: self.line, why: clipped(&why, 200), names_unknown };
        self.joined.bad.push(bad);
    }

    /// Counts the events of a line, and reads it again with all details if one of them is not as it should be.
    fn events(&mut self, line: &[u8], events: &[Event<'_>]) {
        let mut details = None;
        for (at, event) in events.iter().enumerate() {
            self.joined.events += 1;
            self.joined.requests += u64::from(event.is_last());
            let credentials = event.user.as_ref().map_or(&[][..], |user| &user.credentials);
            let mut certificates = credentials.iter().filter(|credential| event::x509(credential).is_some()).peekable();
            match (certificates.peek(), credentials) {
                (Some(_), _) => {}
                (None, []) => self.joined.without_credential += 1,
                (None, _) => self.joined.tokens += 1,
            }
            for credential in certificates {
                match self.known.find(credential) {
                    Some((number, Standing::Recorded)) => self.recorded(number, event),
                    found => {
                        let all = details.get_or_insert_with(|| event::read(line, Need::All).events);
                        if let Some(whole) = all.get(at) {
                            self.suspicious(credential, found, whole);
                        }
                    }
                }
            }
        }
    }

    fn recorded(&mut self, number: usize, event: &Event<'_>) {
        let count = self.joined.recorded.entry(number).or_default();
        count.events += 1;
        count.requests += u64::from(event.is_last());
    }

    fn suspicious(&mut self, credential: &str, found: Option<(usize, Standing)>, event: &Event<'_>) {
        if let Some((number, Standing::Denied(since))) = found {
            self.recorded(number, event);
            let time = time(event);
            // A time that can't be read is no excuse.
            if since.is_some_and(|since| time.is_some_and(|time| time <= since)) {
                return;
            }
            let place = *self.denied.entry(number).or_insert_with(|| {
                self.joined.denied.push((number, Use::of(credential)));
                self.joined.denied.len() - 1
            });
            if let Some((_, used)) = self.joined.denied.get_mut(place) {
                used.add(event, &mut self.kept);
            }
            return;
        }
        let id = clipped(credential, 128);
        let place = match self.places.get(&id) {
            Some(place) => *place,
            None if self.joined.unknown.len() >= CREDENTIALS => {
                self.joined.unknown_beyond += 1;
                return;
            }
            None => {
                self.joined.unknown.push(Use::of(credential));
                self.places.insert(id, self.joined.unknown.len() - 1);
                self.joined.unknown.len() - 1
            }
        };
        if let Some(used) = self.joined.unknown.get_mut(place) {
            used.add(event, &mut self.kept);
        }
    }
}

/// Whether a line that can't be read has the id of a certificate that nobody recorded, anywhere in it.
fn names_unknown(line: &[u8], known: &Known) -> bool {
    let text = String::from_utf8_lossy(line);
    text.match_indices("X509SHA256=").any(|(at, mark)| {
        let digits: String = text[at + mark.len()..].chars().take_while(char::is_ascii_hexdigit).collect();
        !known.counts(&format!("{mark}{digits}"))
    })
}

/// When a request arrived; of other stages, if that is not said, when it reached this one.
fn time(event: &Event<'_>) -> Option<Time> {
    Time::from_rfc3339(&event.received).or_else(|| Time::from_rfc3339(&event.staged))
}

/// Text of a client's, inert and at most `most` characters of it.
fn clipped(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", displayed(&text[..end])),
        None => displayed(text),
    }
}

impl Use {
    fn of(credential: &str) -> Self {
        Self { credential_id: clipped(credential, 128), ..Self::default() }
    }

    /// Adds an event. Several of one request are one request.
    ///
    /// Attack: the header `Audit-ID` lets a client choose the id, so a thief could have all requests of a night share one,
    /// and be counted as one. So requests are told apart by when they arrived, too, which the server says to the microsecond.
    fn add(&mut self, event: &Event<'_>, kept: &mut usize) {
        self.events += 1;
        let at = time(event);
        self.first = match (self.first, at) {
            (Some(first), Some(at)) => Some(first.min(at)),
            (first, at) => first.or(at),
        };
        self.last = self.last.max(at);
        if let Some(user) = &event.user {
            few(&mut self.users, &user.username);
            user.groups.iter().for_each(|group| few(&mut self.groups, group));
        }
        if let Some(address) = event.source_ips.last() {
            few(&mut self.addresses, address);
        }
        let key = [&event.audit_id, &event.received, &event.verb, &event.uri].map(|text| clipped(text, 512));
        if let Some(listed) = self.seen.get(&key).and_then(|place| self.listed.get_mut(*place)) {
            if event.is_last() || listed.code.is_none() {
                listed.stage = clipped(&event.stage, 32);
                listed.code = event.code.or(listed.code);
            }
            return;
        }
        let room = self.listed.len() < FIRST || (self.listed.len() < KEPT_OF_ONE && *kept < KEPT);
        if room {
            *kept += usize::from(self.listed.len() >= FIRST);
            self.requests += 1;
            self.seen.insert(key, self.listed.len());
            self.listed.push(ApiRequest::of(event));
        } else if event.is_last() {
            // No longer told apart, so counted where each request has one event.
            self.requests += 1;
            self.left_out += 1;
        }
    }
}

/// Keeps the first twenty of what should be one.
fn few(set: &mut BTreeSet<String>, text: &str) {
    if set.len() < 20 && !text.is_empty() {
        set.insert(clipped(text, 256));
    }
}

impl ApiRequest {
    fn of(event: &Event<'_>) -> Self {
        let object = &event.object;
        let mut resource = object.resource.to_string();
        if !object.subresource.is_empty() {
            resource = format!("{resource}/{}", &*object.subresource);
        }
        if !object.api_group.is_empty() {
            resource = format!("{resource}.{}", &*object.api_group);
        }
        let time = if event.received.is_empty() { &event.staged } else { &event.received };
        Self {
            audit_id: clipped(&event.audit_id, 128),
            time: clipped(time, 64),
            stage: clipped(&event.stage, 32),
            verb: clipped(&event.verb, 32),
            resource: clipped(&resource, 256),
            namespace: clipped(&object.namespace, 256),
            name: clipped(&object.name, 256),
            uri: clipped(&event.uri, 512),
            source_ips: event.source_ips.iter().rev().take(10).rev().map(|address| clipped(address, 64)).collect(),
            impersonated: (!event.impersonated.is_empty()).then(|| clipped(&event.impersonated, 256)),
            code: event.code,
        }
    }
}
