use crate::world::World;

#[test]
fn lists_are_filtered_and_formatted() {
    let Some(world) = World::new() else { return };
    let create = |name: &str, label: &str| {
        let create = ["create", "--name", name, "--network", "none", "-l", label, "bb", "sh"];
        world.twill(&[&create[..], &["-c", "exit 3"]].concat()).ok()
    };
    let first = create("web-1", "tier=front");
    create("web-2", "tier=front");
    create("db", "tier=back");
    world.twill(&["start", "-a", "db"]).fails(3, "");
    let ps = |arguments: &[&str]| world.twill(&[&["ps"], arguments].concat()).ok();
    let names = |arguments: &[&str]| ps(&[&["--format", "{{.Names}}"], arguments].concat());
    assert_eq!(names(&[]), "", "nobody runs");
    assert_eq!(names(&["-a"]), "db\nweb-2\nweb-1");
    assert_eq!(names(&["-l"]), "db");
    assert_eq!(names(&["-n", "2"]), "db\nweb-2");
    assert_eq!(names(&["-a", "-f", "name=web"]), "web-2\nweb-1");
    assert_eq!(names(&["-a", "-f", "label=tier=front", "-f", "name=1"]), "web-1");
    assert_eq!(names(&["-f", "status=exited"]), "db");
    assert_eq!(names(&["-f", "exited=3"]), "db");
    assert_eq!(names(&["-f", "status=created", "-f", "before=web-2"]), "web-1");
    assert_eq!(names(&["-a", "-f", "since=web-1", "-f", "ancestor=bb"]), "db\nweb-2");
    assert_eq!(names(&["-a", "-f", "ancestor=nosuch"]), "");
    assert_eq!(ps(&["-aq", "--no-trunc", "-f", &format!("id={}", &first[..10])]), first);
    assert_eq!(
        ps(&[
            "-a",
            "-f",
            "name=1",
            "--format",
            r#"table {{.Names}}\t{{.Label "tier"}}\t{{.State}}"#
        ]),
        "NAMES     tier      STATE\nweb-1     front     created"
    );
    let json: serde_json::Value =
        serde_json::from_str(&ps(&["-l", "--format", "json", "--no-trunc"])).unwrap();
    assert_eq!((json["Names"].as_str(), json["State"].as_str()), (Some("db"), Some("exited")));
    assert_eq!(json["Labels"], "tier=back");
    world.twill(&["ps", "-f", "bogus=1"]).fails(1, "invalid filter 'bogus'");
    world.twill(&["ps", "-f", "status=bogus"]).fails(1, "invalid filter 'status=bogus'");
    world.twill(&["ps", "-f", "before=nosuch"]).fails(1, "No such container: nosuch");
    world.twill(&["images", "-f", "since=nosuch"]).fails(1, "nosuch");
    world.twill(&["ps", "--format", "{{.ID"]).fails(1, "unclosed action");
    world.twill(&["ps", "-a", "--format", "{{.Bogus}}"]).fails(1, "<.Bogus>");
    world.twill(&["rm", "web-1", "web-2", "db"]).ok();
    world.assert_nothing_left();
}

#[test]
fn what_was_written_has_a_size() {
    let Some(world) = World::new() else { return };
    let script = "head -c 5000 /dev/zero > /a; rm /etc/plain";
    let run = ["run", "--name", "web", "--network", "none", "bb", "sh", "-c", script];
    world.twill(&run).ok();
    let said = world.twill(&["ps", "-as"]).ok();
    assert!(said.lines().next().unwrap().ends_with("NAMES     SIZE"), "{said}");
    assert!(said.contains("5kB (virtual "), "{said}");
    let size = world.twill(&["ps", "-a", "--format", "{{.Size}}"]).ok();
    assert!(size.starts_with("5kB (virtual "), "{size}");
    let sizes =
        world.twill(&["inspect", "-s", "-f", "{{.SizeRw}} {{lt .SizeRw .SizeRootFs}}", "web"]);
    assert_eq!(sizes.ok(), "5000 true");
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}

#[test]
fn templates_pick_from_what_is_known() {
    let Some(world) = World::new() else { return };
    let create = ["create", "--name", "web", "--network", "none", "-e", "A=1", "-l", "tier=front"];
    world.twill(&[&create[..], &["bb", "sleep", "1"]].concat()).ok();
    let inspect = |template: &str| world.twill(&["inspect", "-f", template, "web"]);
    assert_eq!(inspect("{{.Name}} {{.State.Status}}").ok(), "/web created");
    assert_eq!(inspect("{{range .Config.Env}}{{println .}}{{end}}").ok(), "A=1");
    assert_eq!(inspect("{{json .Config.Labels}}").ok(), r#"{"tier":"front"}"#);
    assert_eq!(inspect(r#"{{index .Config.Labels "tier"}}"#).ok(), "front");
    assert_eq!(inspect("{{.Config.Labels.nosuch}}").ok(), "<no value>");
    assert_eq!(inspect("{{if .State.Running}}up{{else}}down{{end}}").ok(), "down");
    inspect("{{.Nosuch}}").fails(1, "map has no entry for key \"Nosuch\"");
    inspect("{{").fails(64, "template parsing error: template: :1: unclosed action");
    assert_eq!(world.twill(&["inspect", "-f", "{{.RootFS.Type}}", "bb:latest"]).ok(), "layers");
    let typed = |kind: &str, name: &str| world.twill(&["inspect", "--type", kind, name]);
    typed("image", "web").fails(1, "No such image: web");
    typed("container", "bb:latest").fails(1, "No such container: bb:latest");
    let said = world.twill(&["inspect", "-f", "{{.Name}}", "nosuch", "web"]);
    assert_eq!((said.code, said.out.as_str()), (1, "/web\n"));
    world.twill(&["rm", "web"]).ok();
    world.assert_nothing_left();
}
