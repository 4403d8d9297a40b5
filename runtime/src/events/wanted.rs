//! Which events are wanted.

use jiff::Timestamp;

use super::Event;
use crate::listing::Filters;

/// What [`Filters::parse`] lets through for events.
pub const FILTERS: [&str; 6] = ["container", "event", "image", "label", "type", "volume"];

/// The time and the filters that were asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The first moment.
    pub since: Option<Timestamp>,
    /// The last moment.
    pub until: Option<Timestamp>,
    /// All others.
    pub filters: Filters,
}

impl Wanted {
    /// Is this one wanted?
    #[must_use]
    pub fn fits(&self, event: &Event) -> bool {
        let Self { since, until, filters } = self;
        let attribute = |key: &str| event.attributes.get(key).map(String::as_str);
        let is_called = |wanted: &str| {
            (!wanted.is_empty() && event.id.starts_with(wanted))
                || attribute("name") == Some(wanted)
        };
        let of_image = |wanted: &str| match event.kind {
            super::Kind::Image => {
                is_called(wanted) || attribute("name") == Some(&format!("{wanted}:latest"))
            }
            super::Kind::Container => attribute("image") == Some(wanted),
            super::Kind::Volume => false,
        };
        since.is_none_or(|since| event.time >= since)
            && until.is_none_or(|until| event.time <= until)
            && filters.any("type", |kind| kind == event.kind.as_str())
            && filters.any("event", |wanted| {
                // `exec_start: sh` is an event of `exec_start`.
                event.action.split(':').next() == Some(wanted) || event.action == wanted
            })
            && filters
                .any("container", |name| event.kind == super::Kind::Container && is_called(name))
            && filters.any("volume", |name| event.kind == super::Kind::Volume && event.id == name)
            && filters.any("image", of_image)
            && filters.labels("label", attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Kind;

    fn event(kind: Kind, action: &str, second: i64) -> Event {
        let attributes = match kind {
            Kind::Container => [("image", "bb"), ("name", "web"), ("tier", "front")].as_slice(),
            Kind::Image => &[("name", "bb:latest")],
            Kind::Volume => &[("driver", "local")],
        };
        Event {
            time: Timestamp::from_second(second).unwrap(),
            kind,
            action: action.into(),
            id: "abc".into(),
            attributes: attributes
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn events_are_filtered() {
        let all = [
            event(Kind::Image, "tag", 1),
            event(Kind::Container, "create", 2),
            event(Kind::Container, "exec_start: sh", 3),
        ];
        let check = |wishes: &[&str], want: &[usize]| {
            let wishes: Vec<String> = wishes.iter().map(|&wish| wish.to_owned()).collect();
            let wanted =
                Wanted { filters: Filters::parse(&wishes, &FILTERS).unwrap(), ..Wanted::default() };
            let fit: Vec<usize> = (0..3).filter(|index| wanted.fits(&all[*index])).collect();
            assert_eq!(fit, want, "{wishes:?}");
        };
        check(&[], &[0, 1, 2]);
        check(&["type=container"], &[1, 2]);
        check(&["event=create", "event=tag"], &[0, 1]);
        check(&["event=exec_start"], &[2]);
        check(&["container=web"], &[1, 2]);
        check(&["container=ab"], &[1, 2]);
        check(&["container=nosuch"], &[]);
        check(&["image=bb"], &[0, 1, 2]);
        check(&["label=tier"], &[1, 2]);
        check(&["label=tier=back"], &[]);
        let moment = |second| Some(Timestamp::from_second(second).unwrap());
        let wanted = Wanted { since: moment(2), until: moment(2), ..Wanted::default() };
        assert_eq!(all.iter().filter(|event| wanted.fits(event)).count(), 1);
    }

    #[test]
    fn a_line_is_dockers() {
        let event = event(Kind::Container, "create", 0);
        assert_eq!(
            event.line(),
            "1970-01-01T00:00:00.000000000Z container create abc (image=bb, name=web, tier=front)"
        );
        let json = event.json();
        assert_eq!((&json["Action"], &json["from"]), (&"create".into(), &"bb".into()));
        assert_eq!(json["Actor"]["Attributes"]["name"], "web");
    }
}
