//! The page of `report` in a real browser: it asks for nothing and complains about nothing, its search works, the matrix is
//! right, hostile texts do nothing, it fits a phone, reads on paper and without its script, and axe-core finds no fault with
//! it, contrast included. Pictures of it lie in the test's folder below `target/` afterwards.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod browser;
mod ground;
mod known;
mod programs;

use std::path::{Path, PathBuf};

use browser::Browser;
use ground::Ground;
use serde_json::{Value, json};

const PHONE: (u32, u32) = (390, 844);
const DESKTOP: (u32, u32) = (1280, 900);

/// A ground and its page.
fn page() -> (Ground, PathBuf) {
    let ground = known::ground();
    let file = ground.dir.path().join("report.html");
    // Long after: certificates have ended by then, and some things are owed.
    ground.run("bob", &format!("report --html {} --since 3", file.display())).ends(5);
    (ground, file)
}

fn browser() -> Browser {
    Browser::start(&programs::system("chromium-headless-shell"))
}

/// Where pictures are left.
fn picture(browser: &mut Browser, name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("report-{name}.png"));
    std::fs::write(&path, browser.picture()).unwrap();
    path
}

/// The width of a picture: the first number of its header (PNG 11.2.2).
fn width(path: &Path) -> u32 {
    let bytes = std::fs::read(path).unwrap();
    assert!(bytes.len() > 20_000, "{} is nearly empty", path.display());
    u32::from_be_bytes(bytes[16..20].try_into().unwrap())
}

#[track_caller]
fn is_quiet(browser: &Browser, file: &Path) {
    assert_eq!(browser.complaints(), Vec::<&Value>::new());
    assert_eq!(browser.asked_for(), [format!("file://{}", file.display())], "the page itself, and nothing else");
}

#[test]
fn it_asks_for_nothing_complains_about_nothing_and_fits_every_screen() {
    let (_ground, file) = page();
    let mut browser = browser();
    for (name, (wide, high)) in [("phone", PHONE), ("desktop", DESKTOP)] {
        for scheme in ["light", "dark"] {
            browser.resize(wide, high);
            browser.media(scheme, "screen");
            browser.open(&file);
            is_quiet(&browser, &file);
            // Tables scroll within themselves, the page does not.
            assert_eq!(browser.evaluate("document.documentElement.scrollWidth"), json!(wide), "{name} {scheme}");
            let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor");
            assert_eq!(ground == "rgb(255, 255, 255)", scheme == "light", "{ground}");
            let picture = picture(&mut browser, &format!("{name}-{scheme}"));
            assert_eq!(width(&picture), wide);
        }
    }
    // Hostile texts made nothing.
    let made = "[document.title.startsWith('kluis report'), document.scripts.length, document.images.length, \
        document.querySelectorAll('[onerror], [onfocus], [autofocus], iframe, object, link').length]";
    assert_eq!(browser.evaluate(made), json!([true, 1, 0, 0]));
    is_quiet(&browser, &file);
}

#[test]
fn the_policy_lets_no_other_script_or_style_in() {
    let (_ground, file) = page();
    let text = std::fs::read_to_string(&file).unwrap();
    let more = "<script>document.title='owned'</script><img src=\"x\" onerror=\"document.title='owned'\">\
        <p id=\"red\" style=\"color: red\">x</p><style>body { color: red }</style></main>";
    let other = file.with_file_name("other.html");
    std::fs::write(&other, text.replacen("</main>", more, 1)).unwrap();
    let mut browser = browser();
    browser.open(&other);
    browser.evaluate("new Promise((done) => setTimeout(done, 300))");
    // As if `escape` had a hole: what got in is shown and does nothing.
    assert_eq!(browser.evaluate("document.title.startsWith('kluis report')"), json!(true));
    let red = "[document.body, document.getElementById('red')].map((e) => getComputedStyle(e).color)";
    assert!(!browser.evaluate(red).to_string().contains("255, 0, 0"));
    assert!(browser.complaints().len() >= 4, "a complaint about each: {:?}", browser.complaints());
    let failed = browser.events.iter().filter(|event| event["method"] == "Network.loadingFailed");
    let blocked: Vec<&Value> = failed.map(|event| &event["params"]["blockedReason"]).collect();
    assert_eq!((browser.asked_for().len(), blocked), (2, vec![&json!("csp")]), "the picture is not fetched");
}

/// The rows of certificates that are to be seen.
const SEEN: &str = "[...document.querySelectorAll('#certificates tbody tr')]\
    .filter((row) => row.checkVisibility({ contentVisibilityAuto: true, visibilityProperty: true }))\
    .map((row) => [...row.cells].map((cell) => cell.textContent).join(' '))";

fn seen(browser: &mut Browser) -> Vec<String> {
    serde_json::from_value(browser.evaluate(SEEN)).unwrap()
}

#[test]
fn the_search_works_by_keys_alone() {
    let (ground, file) = page();
    let data = ground.run("bob", "report -o json").json()["data"].clone();
    let certificates = data["certificates"].as_array().unwrap();
    let ended = certificates.iter().filter(|one| one["state"] == "expired").count();
    let mut browser = browser();
    browser.resize(DESKTOP.0, DESKTOP.1);
    browser.open(&file);
    assert_eq!(seen(&mut browser).len(), certificates.len() - ended, "those that have ended are folded");
    assert!(ended > 0);
    // From the top by the tabulator key.
    let is_there = "document.activeElement === document.getElementById('wanted')";
    let presses = (0..200).take_while(|_| {
        browser.press("Tab", 9);
        browser.evaluate(is_there) != json!(true)
    });
    assert!(presses.count() < 199);
    let answer = "document.querySelector('#search output').textContent";
    browser.type_text("W-1 kubelet-client");
    let found = seen(&mut browser);
    assert!(found.len() == 2 && found.iter().all(|row| row.contains("node w-1 kubelet-client")), "{found:?}");
    assert_eq!(browser.evaluate(answer), json!(format!("2 of {} certificates", certificates.len())));
    let mut search = |text: &str| {
        browser.evaluate("document.getElementById('wanted').select()");
        browser.type_text(text);
        (seen(&mut browser), browser.evaluate(answer))
    };
    // Whole digests and serial numbers, as an audit log has them; and what has ended is unfolded.
    for one in [&certificates[0], &certificates[20]] {
        for key in ["sha256", "serial"] {
            let (found, _) = search(one[key].as_str().unwrap());
            assert!(found.len() == 1 && found[0].contains(one["subject"].as_str().unwrap()), "{found:?}");
        }
    }
    let (found, _) = search("system:masters");
    assert!(found.len() == 1 && found[0].contains("person bob"), "{found:?}");
    let (found, said) = search("nobody has this");
    assert_eq!((found.len(), said), (0, json!(format!("0 of {} certificates", certificates.len()))));
    let (found, said) = search(" ");
    assert_eq!((found.len(), said), (certificates.len() - ended, json!("")), "as it was");
    browser.press("Enter", 13);
    is_quiet(&browser, &file);
}

#[test]
fn the_matrix_on_the_page_is_the_one_of_the_data() {
    let (ground, file) = page();
    let data = ground.run("bob", "report -o json --since 3").json()["data"].clone();
    let mut browser = browser();
    browser.open(&file);
    let read = "[...document.querySelectorAll('#people .matrix')].map((table) => [\
        [...table.tHead.rows[0].cells].map((cell) => cell.firstChild.textContent.trim()),\
        [...table.tBodies[0].rows].map((row) => [...row.cells].map((cell) => (cell.querySelector('[aria-hidden]') ?? cell).textContent.trim()))])";
    let tables = browser.evaluate(read);
    let tables = tables.as_array().unwrap();
    assert_eq!(tables.len(), 3, "the fleet, lab and prod");
    assert_eq!(
        tables[0],
        json!([["Cluster", "alice", "bob", "carol"], [["lab", "R8 +8", "", ""], ["prod", "R9 +1", "R9 +9", "K8"]]])
    );
    let (heads, rows) = (&tables[2][0], tables[2][1].as_array().unwrap());
    assert_eq!(*heads, json!(["Secret", "alice", "bob", "carol"]));
    let secrets = data["matrix"]["clusters"][1]["secrets"].as_array().unwrap();
    assert_eq!(rows.len(), secrets.iter().filter(|row| row["node"] == false).count() + 1, "alike nodes are one row");
    for (row, of) in rows.iter().zip(secrets.iter().filter(|row| row["node"] == false)) {
        let name = format!("{} {}", of["secret"].as_str().unwrap(), of["state"].as_str().unwrap());
        let expected = match of["secret"].as_str().unwrap() {
            "ca.etcd.g2" => json!([name, "R+", "R+", ""]),
            _ => json!([name, "R", "R+", "K"]),
        };
        assert_eq!(*row, expected);
    }
    assert_eq!(*rows.last().unwrap(), json!(["3 nodesnode.cp-1, node.w-1, node.w-2", "R", "R+", "K"]));
}

#[test]
fn it_reads_on_paper_and_without_its_script() {
    let (_ground, file) = page();
    let mut browser = browser();
    browser.resize(DESKTOP.0, DESKTOP.1);
    browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    browser.open(&file);
    let there = "[document.getElementById('search').checkVisibility(), \
        document.querySelectorAll('#certificates tbody tr').length > 30, document.querySelector('svg rect').checkVisibility()]";
    assert_eq!(browser.evaluate(there), json!([false, true, true]));
    browser.call("Emulation.setScriptExecutionDisabled", json!({ "value": false }));
    browser.media("dark", "print");
    browser.open(&file);
    // What is folded is on paper, but for certificates that have ended; what is dark is not.
    let folded = "[...document.querySelectorAll('details:not([open])')].map((one) => \
        [one.className, one.lastElementChild.getBoundingClientRect().height > 0 && \
        one.lastElementChild.checkVisibility({ contentVisibilityAuto: true })])";
    let folded = browser.evaluate(folded);
    let folded = folded.as_array().unwrap();
    assert!(folded.len() > 4, "{folded:?}");
    for one in folded {
        assert_eq!(one[1], json!(one[0] != "expired"), "{folded:?}");
    }
    let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor");
    assert_eq!(ground, "rgb(255, 255, 255)");
    let paper = browser.call("Page.printToPDF", json!({ "paperWidth": 8.27, "paperHeight": 11.69 }));
    assert!(paper["data"].as_str().unwrap().len() > 50_000);
    is_quiet(&browser, &file);
}

/// WCAG 2.1, levels A and AA, by axe-core; contrast (1.4.3) is one of its rules. Everything is unfolded before.
#[test]
fn axe_core_finds_no_fault_with_it() {
    let (_ground, file) = page();
    let axe = std::fs::read_to_string(programs::axe()).unwrap();
    let run = "axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] }).then((found) => ({ \
        violations: found.violations.map((one) => [one.id, one.nodes.map((node) => node.html + ' ' + node.failureSummary)]), \
        contrast: found.passes.filter((one) => one.id === 'color-contrast').flatMap((one) => one.nodes).length, \
        passes: found.passes.length }))";
    let mut browser = browser();
    for (wide, high) in [PHONE, DESKTOP] {
        for (scheme, media) in [("light", "screen"), ("dark", "screen"), ("light", "print")] {
            browser.resize(wide, high);
            browser.media(scheme, media);
            browser.open(&file);
            browser.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })");
            browser.evaluate(&format!("{axe}\n;0"));
            let found = browser.evaluate(run);
            assert_eq!(found["violations"], json!([]), "{wide} {scheme} {media}: {found:#}");
            assert!(found["contrast"].as_u64().unwrap() > 300 && found["passes"].as_u64().unwrap() > 20, "{found}");
        }
    }
    // It would find one.
    browser.evaluate(
        "document.querySelector('h1').replaceWith(Object.assign(document.createElement('img'), { src: 'data:,' }))",
    );
    assert_ne!(browser.evaluate(run)["violations"], json!([]));
}
