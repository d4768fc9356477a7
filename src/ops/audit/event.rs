//! One line of an API server's audit log: an `Event` of `audit.k8s.io/v1`, or an `EventList` of them, read as far as
//! joining needs it. Everything else, request and response bodies above all, is skipped and never kept.
//!
//! Attack: bodies are whatever a client sent, so text that looks like a credential id, or a whole `user.extra` (a
//! SubjectAccessReview has one), stands in logs of honest API servers. Options were to search lines for the text, which is
//! fast and can be fooled in both directions, and to parse each line and look at its `user` alone. Parsed it is: skipping what
//! is not needed costs little more than searching it.
//!
//! Keys that decide something and stand twice are refused: parsers differ in which one they take.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Where an API server from 1.32 on says which credential authenticated a request
/// (k8s.io/apiserver, pkg/authentication/user, `CredentialIDKey`).
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The most events that a list may have. API servers send 400 at once unless told otherwise, and an empty one takes a
/// hundred times the memory that its two octets did.
const MOST_EVENTS: usize = 10_000;

/// Text of an event, borrowed from its line where it stands there without escapes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Text<'a>(Cow<'a, str>);

impl Deref for Text<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        &self.0
    }
}

/// An object that a request is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names of Kubernetes")]
pub struct Object<'a> {
    pub resource: Text<'a>,
    pub subresource: Text<'a>,
    pub namespace: Text<'a>,
    pub name: Text<'a>,
    pub api_group: Text<'a>,
}

/// Who made a request, as the API server authenticated them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct User<'a> {
    /// The name.
    pub username: Text<'a>,
    /// The groups.
    pub groups: Vec<Text<'a>>,
    /// The credential ids: one, unless a proxy or a webhook added some.
    pub credentials: Vec<Text<'a>>,
}

/// An event, as far as it was read. What is not there is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event<'a> {
    kind: Option<Text<'a>>,
    api_version: Option<Text<'a>>,
    /// `RequestReceived`, `ResponseStarted`, `ResponseComplete` or `Panic`.
    pub stage: Text<'a>,
    /// The client may choose it, and choose one for many requests.
    pub audit_id: Text<'a>,
    /// `get`, `list`, …
    pub verb: Text<'a>,
    /// The path with the query.
    pub uri: Text<'a>,
    /// Who; none where the line ended before it.
    pub user: Option<User<'a>>,
    /// As whom, if they impersonated somebody.
    pub impersonated: Text<'a>,
    /// Where from. All but the last are the client's own claim.
    pub source_ips: Vec<Text<'a>>,
    /// On what; empty for requests of no resource.
    pub object: Object<'a>,
    /// The HTTP status; none before the response.
    pub code: Option<u16>,
    /// When the request arrived, in RFC 3339.
    pub received: Text<'a>,
    /// When it reached this stage.
    pub staged: Text<'a>,
    items: Option<Vec<Event<'a>>>,
}

/// How much of an event is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// The credential and the stage.
    Credential,
    /// All that a report shows.
    All,
}

/// What a line is.
pub struct Line<'a> {
    /// The events that could be read: one, those of a list, or none. Where there is a fault, those before it, the last
    /// one perhaps in part.
    pub events: Vec<Event<'a>>,
    /// Why the line is not as an API server writes it.
    pub fault: Option<String>,
}

/// Reads one line.
pub fn read(line: &[u8], need: Need) -> Line<'_> {
    let mut event = Event::default();
    let mut json = serde_json::Deserializer::from_slice(line);
    let read = Whole { event: &mut event, need, in_list: false }.deserialize(&mut json).and_then(|()| json.end());
    let fault = read.err().map(|error| fault(&error));
    let is = |text: &Option<Text<'_>>, right: &str| text.as_deref() == Some(right);
    let ours = is(&event.api_version, "audit.k8s.io/v1");
    if ours && is(&event.kind, "Event") {
        return Line { events: vec![event], fault };
    }
    if ours && is(&event.kind, "EventList") {
        return Line { events: event.items.unwrap_or_default(), fault };
    }
    let other = "it is no Event of audit.k8s.io/v1";
    Line { events: Vec::new(), fault: Some(fault.unwrap_or_else(|| other.to_owned())) }
}

/// An error of the parser without its `at line 1`, which every line here is.
fn fault(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let end = text.rfind(" at line ").unwrap_or(text.len());
    format!("{}, at byte {}", &text[..end], error.column())
}

/// Whether a text begins like the id of an X.509 certificate; what follows should be the SHA-256 of its DER in lower-case
/// hex.
pub fn x509(credential: &str) -> Option<&str> {
    credential.strip_prefix("X509SHA256=")
}

impl Event<'_> {
    /// Whether the request ended with it: the stage that each request reaches once.
    pub fn is_last(&self) -> bool {
        matches!(&*self.stage, "ResponseComplete" | "Panic")
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_str(TextVisitor)
    }
}

/// Declares a reader of one kind of object, which `null` leaves empty.
macro_rules! object {
    ($name:ident, $what:literal) => {
        impl<'de> DeserializeSeed<'de> for $name<'_, 'de> {
            type Value = ();
            fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
                json.deserialize_any(self)
            }
        }

        impl<'de> Visitor<'de> for $name<'_, 'de> {
            type Value = ();
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($what)
            }
            fn visit_unit<E>(self) -> Result<(), E> {
                Ok(())
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
                self.fill(map)
            }
        }
    };
}

struct Whole<'e, 'de> {
    event: &'e mut Event<'de>,
    need: Need,
    in_list: bool,
}
object!(Whole, "an event");

struct Who<'e, 'de> {
    user: &'e mut User<'de>,
    need: Need,
}
object!(Who, "a user");

struct Extra<'e, 'de>(&'e mut Vec<Text<'de>>);
object!(Extra, "the extra of a user");

struct What<'e, 'de>(&'e mut Object<'de>);
object!(What, "an object reference");

struct Impersonated<'e, 'de>(&'e mut Text<'de>);
object!(Impersonated, "a user");

struct Status<'e, 'de> {
    code: &'e mut Option<u16>,
    of: std::marker::PhantomData<&'de ()>,
}
object!(Status, "a status");

/// Refuses the second of a key.
fn once<E: de::Error>(seen: &mut u32, bit: u32, key: &str) -> Result<(), E> {
    if *seen & (1 << bit) != 0 {
        return Err(E::custom(format_args!("the key {key} stands twice")));
    }
    *seen |= 1 << bit;
    Ok(())
}

fn skip<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}

impl<'de> Whole<'_, 'de> {
    fn fill<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { event, need, in_list } = self;
        let mut seen = 0;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            let all = need == Need::All;
            match &*key {
                "kind" => {
                    once(&mut seen, 0, &key)?;
                    event.kind = Some(map.next_value()?);
                }
                "apiVersion" => {
                    once(&mut seen, 1, &key)?;
                    event.api_version = Some(map.next_value()?);
                }
                "stage" => {
                    once(&mut seen, 2, &key)?;
                    event.stage = map.next_value()?;
                }
                "user" => {
                    once(&mut seen, 3, &key)?;
                    let user = event.user.insert(User::default());
                    map.next_value_seed(Who { user, need })?;
                }
                "items" if !in_list => {
                    once(&mut seen, 4, &key)?;
                    let items = event.items.insert(Vec::new());
                    map.next_value_seed(Items { items, need })?;
                }
                "auditID" if all => event.audit_id = map.next_value()?,
                "verb" if all => event.verb = map.next_value()?,
                "requestURI" if all => event.uri = map.next_value()?,
                "impersonatedUser" if all => map.next_value_seed(Impersonated(&mut event.impersonated))?,
                "sourceIPs" if all => event.source_ips = map.next_value::<Option<_>>()?.unwrap_or_default(),
                "objectRef" if all => map.next_value_seed(What(&mut event.object))?,
                "responseStatus" if all => {
                    map.next_value_seed(Status { code: &mut event.code, of: std::marker::PhantomData })?;
                }
                "requestReceivedTimestamp" if all => {
                    event.received = map.next_value::<Option<_>>()?.unwrap_or_default()
                }
                "stageTimestamp" if all => event.staged = map.next_value::<Option<_>>()?.unwrap_or_default(),
                _ => skip(&mut map)?,
            }
        }
        Ok(())
    }
}

impl<'de> Who<'_, 'de> {
    fn fill<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = 0;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key {
                "extra" => {
                    once(&mut seen, 0, &key)?;
                    map.next_value_seed(Extra(&mut self.user.credentials))?;
                }
                "username" if self.need == Need::All => self.user.username = map.next_value()?,
                "groups" if self.need == Need::All => {
                    self.user.groups = map.next_value::<Option<_>>()?.unwrap_or_default();
                }
                _ => skip(&mut map)?,
            }
        }
        Ok(())
    }
}

impl<'de> Extra<'_, 'de> {
    fn fill<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = 0;
        while let Some(key) = map.next_key::<Text<'de>>()? {
            if &*key == CREDENTIAL_ID {
                once(&mut seen, 0, &key)?;
                *self.0 = map.next_value::<Option<_>>()?.unwrap_or_default();
            } else {
                skip(&mut map)?;
            }
        }
        Ok(())
    }
}

impl<'de> What<'_, 'de> {
    fn fill<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key {
                "resource" => self.0.resource = map.next_value()?,
                "subresource" => self.0.subresource = map.next_value()?,
                "namespace" => self.0.namespace = map.next_value()?,
                "name" => self.0.name = map.next_value()?,
                "apiGroup" => self.0.api_group = map.next_value()?,
                _ => skip(&mut map)?,
            }
        }
        Ok(())
    }
}

impl<'de> Impersonated<'_, 'de> {
    fn fill<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key {
                "username" => *self.0 = map.next_value()?,
                _ => skip(&mut map)?,
            }
        }
        Ok(())
    }
}

impl<'de> Status<'_, 'de> {
    fn fill<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Text<'de>>()? {
            match &*key {
                "code" => *self.code = map.next_value()?,
                _ => skip(&mut map)?,
            }
        }
        Ok(())
    }
}

struct Items<'e, 'de> {
    items: &'e mut Vec<Event<'de>>,
    need: Need,
}

impl<'de> DeserializeSeed<'de> for Items<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, 'de> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        loop {
            self.items.push(Event::default());
            let Some(event) = self.items.last_mut() else { return Ok(()) };
            if list.next_element_seed(Whole { event, need: self.need, in_list: true })?.is_none() {
                self.items.pop();
                return Ok(());
            }
            if self.items.len() > MOST_EVENTS {
                return Err(de::Error::custom(format_args!("a list of more than {MOST_EVENTS} events")));
            }
        }
    }
}
