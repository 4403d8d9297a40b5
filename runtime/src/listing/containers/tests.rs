use super::*;
use crate::container::record;

fn container(name: &str, second: i64) -> Container {
    let record = record::sample();
    let record = Record {
        name: name.into(),
        created: Timestamp::from_second(second).unwrap(),
        labels: [("tier".to_owned(), name.to_owned())].into(),
        ..record
    };
    Container { record, state: State::default() }
}

#[test]
fn commands_are_cut() {
    let check = |text: &str, whole: bool, want: &str| {
        let words: Vec<String> = text.split(' ').map(str::to_owned).collect();
        assert_eq!(command(&words, whole), want);
    };
    check("sh", false, "\"sh\"");
    check("sleep 12345678901234", false, "\"sleep 12345678901234\"");
    check("sleep 123456789012345", false, "\"sleep 1234567890123…\"");
    check("sleep 123456789012345", true, "\"sleep 123456789012345\"");
    check("a\n\x1b[31mb \"c\"", false, r#""a\n\u{1b}[31mb \"c\"""#);
    check("ä ö ü ä ö ü ä ö ü ä ö ü", false, "\"ä ö ü ä ö ü ä ö ü ä…\"");
}

#[test]
fn states_in_words() {
    let now = Timestamp::from_second(100_000).unwrap();
    let then = Timestamp::from_second(100_000 - 180).unwrap();
    let running = State { status: Status::Running, started: Some(then), ..State::default() };
    assert_eq!(status(&State::default(), now), "Created");
    assert_eq!(status(&running, now), "Up 3 minutes");
    let paused = State { paused: true, ..running.clone() };
    assert_eq!(status(&paused, now), "Up 3 minutes (Paused)");
    assert_eq!(paused.word(), "paused");
    assert_eq!(status(&running.exited(3, then), now), "Exited (3) 3 minutes ago");
}

#[test]
fn rows_have_the_fields_of_docker() {
    let style = Style { now: Timestamp::from_second(60).unwrap(), whole: false };
    let row = row(&container("web", 0), Size { own: 5, image: 995 }, style);
    for (field, want) in [
        ("ID", "aaaaaaaaaaaa"),
        ("Names", "web"),
        ("Labels", "tier=web"),
        ("CreatedAt", "1970-01-01 00:00:00 +0000 UTC"),
        ("RunningFor", "About a minute ago"),
        ("Size", "5B (virtual 1kB)"),
        ("State", "created"),
        ("Status", "Created"),
        ("Networks", "bridge"),
    ] {
        assert_eq!(row.fields[field], want, "{field}");
    }
    for (field, _) in HEADINGS {
        assert!(row.fields.get(field).is_some(), "{field}");
    }
}

#[test]
fn filters_of_each_kind() {
    let mut old = container("old-web", 10);
    old.state = State { status: Status::Exited, exit_code: 3, ..State::default() };
    let mut new = container("db", 30);
    new.state = State { status: Status::Running, paused: true, ..State::default() };
    let all = [container("mid", 20), old, new];
    let check = |wishes: &[&str], want: &[&str]| {
        let wishes: Vec<String> = wishes.iter().map(|&wish| wish.to_owned()).collect();
        let filters = Filters::parse(&wishes, &FILTERS).unwrap();
        let created = |_: &str| Ok(Timestamp::from_second(20).unwrap());
        let image = |name: &str| (name == "bb").then(|| ("sha256:0".to_owned(), vec![]));
        let wanted = Wanted::new(filters, created, image).unwrap();
        let fit: Vec<&str> =
            all.iter().filter(|one| wanted.fits(one)).map(|one| one.record.name.as_str()).collect();
        assert_eq!(fit, want, "{wishes:?}");
    };
    check(&[], &["mid", "old-web", "db"]);
    check(&["name=web"], &["old-web"]);
    check(&["name=web", "name=^/db$"], &["old-web", "db"]);
    check(&["name=web", "status=paused"], &[]);
    check(&["status=paused"], &["db"]);
    check(&["status=running"], &[]);
    check(&["status=exited", "status=created"], &["mid", "old-web"]);
    check(&["exited=3"], &["old-web"]);
    check(&["exited=0"], &[]);
    check(&["label=tier"], &["mid", "old-web", "db"]);
    check(&["label=tier=db"], &["db"]);
    check(&["before=mid"], &["old-web"]);
    check(&["since=mid"], &["db"]);
    check(&["ancestor=bb"], &["mid", "old-web", "db"]);
    check(&["ancestor=nosuch"], &[]);
    check(&["id=aaaa"], &["mid", "old-web", "db"]);
    check(&["id=bbbb"], &[]);
    check(&["network=bridge"], &["mid", "old-web", "db"]);
    check(&["network=host"], &[]);
    check(&["volume=x"], &[]);
    check(&["health=none", "is-task=false"], &["mid", "old-web", "db"]);
}

#[test]
fn values_that_cannot_be() {
    for wish in ["status=bogus", "exited=x"] {
        let filters = Filters::parse(&[wish.to_owned()], &FILTERS).unwrap();
        let refused = Wanted::new(filters, |_| unreachable!(), |_| None).unwrap_err();
        assert_eq!(refused.to_string(), format!("invalid filter '{wish}'"));
    }
}
