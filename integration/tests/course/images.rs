//! Chapter 8: images.

use anyhow::{Result, ensure};

use crate::class::{Class, contains, types};

#[test]
fn chapter_8() -> Result<()> {
    let Some(class) = Class::begin()? else { return Ok(()) };
    let host = class.here();
    let layers = "twill image inspect -f '{{json .RootFS.Layers}}'";
    let kept = || types(host, "ls /var/lib/twill/layers | wc -l");
    let before = kept()?;
    // A layer that two images have is stored once, and what a container writes is its own.
    types(host, "twill run --name one centos:7 sh -c 'echo one > /file'")?;
    types(host, "twill commit one tomcat:latest")?;
    ensure!(
        types(host, &format!("{layers} tomcat"))?
            .starts_with(types(host, &format!("{layers} centos:7"))?.trim_end_matches(']'))
    );
    ensure!(kept()?.parse::<u32>()? == before.parse::<u32>()? + 1, "one more layer");
    for name in ["two", "three"] {
        types(host, &format!("twill run -tid --name {name} tomcat sh"))?;
    }
    types(host, "twill exec two sh -c 'echo two > /file'")?;
    ensure!(types(host, "twill exec three cat /file")? == "one");
    types(host, "twill rm -f one two three")?;
    contains(&types(host, "twill image ls")?, "tomcat")?;
    types(host, "twill save -o /run/tomcat.tar tomcat:latest")?;
    types(host, "twill rmi tomcat:latest")?;
    ensure!(kept()? == before, "the layer goes with the last image that has it");
    ensure!(types(host, "twill load -i /run/tomcat.tar")? == "Loaded image: tomcat:latest");
    ensure!(types(host, "twill run --rm tomcat cat /file")? == "one");
    let id = types(host, "twill images -q tomcat")?;
    types(host, &format!("twill tag {id} suiyi:1003"))?;
    types(host, &format!("twill rmi -f {id} && rm /run/tomcat.tar"))?;
    class.end()
}
