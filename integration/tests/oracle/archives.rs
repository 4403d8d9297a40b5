//! Archives that one of the two writes and the other reads: what comes out is what went in, and it runs.

use anyhow::{Context as _, Result, ensure};
use twill_integration::may_build_labs;

use crate::docker::Pair;
use crate::script::Engine;

/// Images of several layers, with what a file may be and what a configuration may say.
const MAKE: &str = r#"
$E run --name maker --network none bb sh -ec '
    mkdir -p /srv/deep && cd /srv/deep && echo first >file && ln -s file link && ln file hard
    chown 33:33 file && chmod 4750 file && mkfifo /srv/pipe && truncate -s 1048576 /srv/sparse
    touch -d "2001-02-03 04:05:06" link /srv/pipe && rm /var/data/file'
$E commit -c 'CMD ["sh","-c","cat deep/link; echo $A"]' -c 'ENV A="b c"' -c 'LABEL tier=front' \
    -c 'EXPOSE 80/udp' -c 'USER www' -c 'WORKDIR /srv' -c 'VOLUME /vol' maker made:1
$E rm -v maker
$E run --name maker --network none -u root made:1 sh -c 'rm -r /srv/deep && mkdir /srv/deep && echo second >/srv/deep/link'
$E commit maker made:2
$E rm -v maker
$E tag bb other/name:3
"#;

/// What of them has to be the same everywhere.
const LOOK: &str = r#"
for image in made:1 made:2 other/name:3; do
    $E inspect -f '{{.Id}} {{json .RootFS.Layers}} {{json .Config.Cmd}} {{json .Config.Env}} {{.Config.User}} {{json .Config.Labels}}' $image
    $E run --rm --network none -u root $image sh -c 'find /srv /var /etc/passwd /etc/group | sort |
        while read -r file; do stat -c "%n %A %u %g %h %Y" "$file"; test ! -f "$file" || md5sum "$file"; done'
done
$E inspect -f '{{json .Config.ExposedPorts}} {{json .Config.Volumes}} {{.Config.WorkingDir}}' made:1 made:2
$E run --rm --network none made:1
$E run --rm --network none made:2
"#;

/// A container's files, flat.
const LOOK_FLAT: &str = r#"
$E run --rm --network none flat sh -c 'find /srv /var | sort |
    while read -r file; do stat -c "%n %A %u %g %h %Y" "$file"; test ! -f "$file" || md5sum "$file"; done'
"#;

const CLEAR: &str = "$E rmi -f made:1 made:2 other/name:3 flat >/dev/null";

/// Both ways.
pub(crate) fn check() -> Result<()> {
    if !may_build_labs() {
        return Ok(());
    }
    let Some(pair) = Pair::start()? else { return Ok(()) };
    exchange(&pair.docker, &pair.twill).context("from Docker to Twill")?;
    exchange(&pair.twill, &pair.docker).context("from Twill to Docker")?;
    pair.finish()
}

fn exchange(writer: &Engine, reader: &Engine) -> Result<()> {
    writer.sh(MAKE)?;
    writer.sh("$E save -o /run/lab/share/saved.tar made:1 made:2 other/name:3")?;
    let said = reader.sh("$E load -i /run/lab/share/saved.tar | sort")?;
    ensure!(
        said == "Loaded image: made:1\nLoaded image: made:2\nLoaded image: other/name:3\n",
        "{said}"
    );
    same("images", &writer.sh(LOOK)?, &reader.sh(LOOK)?)?;
    writer
        .sh("$E run --name it --network none -u root made:1 sh -c 'echo more >>/srv/deep/file'")?;
    writer.sh("$E export -o /run/lab/share/flat.tar it && $E rm -v it")?;
    for engine in [writer, reader] {
        engine.sh("$E import -c 'USER root' /run/lab/share/flat.tar flat")?;
    }
    same("files", &writer.sh(LOOK_FLAT)?, &reader.sh(LOOK_FLAT)?)?;
    ensure!(reader.sh("$E run --rm --network none flat cat /srv/deep/link")? == "first\nmore\n");
    for engine in [writer, reader] {
        engine.sh(CLEAR)?;
    }
    Ok(())
}

/// Names the first line that is not the same.
fn same(what: &str, wrote: &str, read: &str) -> Result<()> {
    ensure!(wrote.lines().count() > 5, "there are hardly any {what}: {wrote}");
    for (wrote, read) in wrote.lines().zip(read.lines()) {
        ensure!(wrote == read, "of the {what}, the writer says\n{wrote}\nand the reader\n{read}");
    }
    ensure!(wrote == read, "the {what} differ: {wrote}\n{read}");
    Ok(())
}
