//! The one writer of HTML. Owns what is markup and what is text: names of elements and attributes are words of this
//! program, everything else is escaped by `escape`, and elements close themselves.
//!
//! Attack (T75, T78): names, reasons, endpoints and paths come from files that anybody may propose, and the page is opened by
//! those who decide. So there is no way in here for a text that was not written in this program: `element` takes
//! `&'static str`, `text` and the values of attributes go through `escape`, control and direction characters become visible,
//! and whatever a stranger said is isolated, so that a right-to-left word turns nothing around it. Should all that have a
//! hole, the page's own policy lets nothing run or load but the one script and the one style whose hashes it names.

use std::fmt::{Display, Write as _};

use base64::Engine as _;

use crate::model::{Digest, displayed};

/// Names and values.
pub type Attributes<'a> = &'a [(&'static str, &'a dyn Display)];

/// HTML that is being written.
pub struct Html(String);

/// Elements that begin on a line of their own, so that two pages can be compared.
const LINES: [&str; 12] =
    ["dl", "section", "h2", "h3", "table", "tr", "details", "li", "svg", "p", "nav", "footer"];

impl Html {
    /// An element and what is in it.
    pub fn element(&mut self, name: &'static str, attributes: Attributes<'_>, content: impl FnOnce(&mut Self)) {
        self.open(name, attributes);
        content(self);
        self.0 += "</";
        self.0 += name;
        self.0 += ">";
    }

    /// An element with this text in it.
    pub fn leaf(&mut self, name: &'static str, attributes: Attributes<'_>, text: impl Display) {
        self.element(name, attributes, |html| html.text(text));
    }

    /// An element that has nothing in it and no end: `meta`, `input`.
    pub fn void(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.open(name, attributes);
    }

    /// Text.
    pub fn text(&mut self, text: impl Display) {
        escape(&mut self.0, &text.to_string());
    }

    /// What a stranger may have written: a reason, an endpoint, a path.
    pub fn said(&mut self, text: impl Display) {
        self.leaf("bdi", &[], text);
    }

    /// Something to be copied: a command, a hash.
    pub fn code(&mut self, text: impl Display) {
        self.leaf("code", &[], text);
    }

    fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        if LINES.contains(&name) {
            self.0 += "\n";
        }
        self.0 += "<";
        self.0 += name;
        for (name, value) in attributes {
            debug_assert!(!name.starts_with("on") && !["style", "src"].contains(name), "the policy forbids {name}");
            self.0 += " ";
            self.0 += name;
            self.0 += "=\"";
            escape(&mut self.0, &value.to_string());
            self.0 += "\"";
        }
        self.0 += ">";
    }
}

/// Text as it may stand between tags and in quotes. The only way of a text into a page.
fn escape(out: &mut String, text: &str) {
    for c in displayed(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
}

/// A whole page with its style and script, and the policy that lets nothing else in.
pub fn document(title: &str, style: &'static str, script: &'static str, body: impl FnOnce(&mut Html)) -> String {
    let policy = format!(
        "default-src 'none'; style-src '{}'; script-src '{}'; base-uri 'none'; form-action 'none'",
        source(style),
        source(script)
    );
    let mut html = Html("<!doctype html>\n".to_owned());
    html.element("html", &[("lang", &"en")], |html| {
        html.element("head", &[], |html| {
            html.void("meta", &[("charset", &"utf-8")]);
            html.void("meta", &[("http-equiv", &"Content-Security-Policy"), ("content", &policy)]);
            html.void("meta", &[("name", &"viewport"), ("content", &"width=device-width, initial-scale=1")]);
            html.void("meta", &[("name", &"color-scheme"), ("content", &"light dark")]);
            html.leaf("title", &[], title);
            html.element("style", &[], |html| html.0 += style);
        });
        html.element("body", &[], |html| {
            body(html);
            html.element("script", &[], |html| html.0 += script);
        });
    });
    html.0 += "\n";
    html.0
}

/// How a policy names a script or style by its hash (CSP 3, 2.3.1).
fn source(text: &str) -> String {
    let mut source = String::from("sha256-");
    // Writing to a text does not fail.
    let _ = write!(source, "{}", base64::engine::general_purpose::STANDARD.encode(Digest::of(text.as_bytes()).as_bytes()));
    source
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "</td><script>alert(1)</script><img src=x onerror='y'>&amp;\" \u{202e}gpj\u{7}\n";

    #[test]
    fn hostile_text_stays_text_between_tags_and_in_quotes() {
        let mut html = Html(String::new());
        html.element("td", &[("title", &HOSTILE)], |html| {
            html.text(HOSTILE);
            html.said(HOSTILE);
        });
        let page = html.0;
        assert_eq!(page.matches('<').count(), 4, "{page}");
        assert_eq!(page.matches('"').count(), 2, "{page}");
        assert!(!page.contains('\'') && !page.contains('\u{202e}') && !page.contains('\u{7}') && !page.contains('\n'));
        assert!(page.contains("&amp;amp;") && page.contains("\\u{202e}"), "{page}");
    }

    #[test]
    fn the_policy_names_exactly_the_style_and_the_script() {
        let page = document("a < b", "p{}", "1", |html| html.leaf("p", &[], "x"));
        // echo -n 'p{}' | openssl dgst -sha256 -binary | base64
        assert!(page.contains("style-src &#39;sha256-"), "{page}");
        assert!(page.contains("<title>a &lt; b</title>") && page.ends_with("<script>1</script></body></html>\n"));
        assert_eq!(source(""), "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    }
}
