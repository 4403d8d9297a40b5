//! One program at one place.

use std::io;

use aya::Ebpf;
use aya::programs::TcAttachType::{self, Egress, Ingress};
use aya::programs::tc::{
    self, NlOptions, SchedClassifier, SchedClassifierLink, TcAttachOptions, TcError, TcHandle,
};
use aya::programs::{Link as _, ProgramError};
use nix::errno::Errno;
use twill_core::shortcut::{MARK, PRIORITY};

use super::{Cause, Ground, Refused};

const LIFT: &str = "twill_lift";

/// Where a program is, or is to be.
#[derive(Debug)]
pub(crate) struct Hook {
    program: &'static str,
    interface: String,
    place: TcAttachType,
    handle: TcHandle,
    /// Did this process put it in? Otherwise what is there is an earlier one's.
    ours: bool,
}

impl Hook {
    /// All that there are, in the order in which they may be put in: who can receive, before who sends.
    pub(crate) fn all(ground: &Ground, port: u16) -> Vec<Self> {
        let lift = ground.lift.as_ref().map(|lift| (LIFT, &lift.name, Ingress));
        let enter = ("twill_enter", &ground.uplink.name, Ingress);
        let leave = ("twill_leave", &ground.device.name, Egress);
        lift.into_iter()
            .chain([enter, leave])
            .map(|(program, interface, place)| Self::new((program, place), interface, port))
            .collect()
    }

    fn new((program, place): (&'static str, TcAttachType), interface: &str, port: u16) -> Self {
        let handle = TcHandle::new(MARK, port);
        Self { program, interface: interface.to_owned(), place, handle, ours: false }
    }

    /// Is it what looks after the lift?
    pub(crate) fn is_at_lift(&self) -> bool {
        self.program == LIFT
    }

    /// Are both at one place?
    pub(crate) fn is_where(&self, other: &Self) -> bool {
        (&self.interface, self.place, self.handle) == (&other.interface, other.place, other.handle)
    }

    pub(crate) fn load(&mut self, programs: &mut Ebpf) -> Result<(), Refused> {
        let name = self.program;
        let program = program(programs, name)?;
        program.load().map_err(|error| match error {
            ProgramError::LoadError { io_error, verifier_log } => {
                tracing::debug!(program = name, %verifier_log, "why the kernel does not take it");
                Refused::Load { name, source: io_error.into() }
            }
            other => Refused::Load { name, source: other.into() },
        })
    }

    /// Puts it in, in place of whatever has its place; tells whether nothing of this process had been there.
    pub(crate) fn ensure(&mut self, programs: &mut Ebpf) -> Result<bool, Refused> {
        let program = program(programs, self.program)?;
        let refused = |source: Cause| Refused::Hook { interface: self.interface.clone(), source };
        match tc::qdisc_add_clsact(&self.interface) {
            Err(TcError::NetlinkError(error))
                if error.raw_os_error() == Some(Errno::EEXIST as i32) => {}
            result => result.map_err(|error| refused(error.into()))?,
        }
        let options = NlOptions { priority: PRIORITY, handle: self.handle, classid: None };
        let put = TcAttachOptions::Netlink(options);
        let (link, there) = match program.attach_with_options(&self.interface, self.place, put) {
            // The kernel does not say whose it is; replaced by itself it is what it was.
            Err(error) if is_there(&error) => {
                let there = self.link().map_err(|error| refused(error.into()))?;
                (program.attach_to_link(there), self.ours)
            }
            result => (result, false),
        };
        let link = link.and_then(|link| program.take_link(link));
        // Dropped, it would take the program out.
        std::mem::forget(link.map_err(|error| refused(error.into()))?);
        self.ours = true;
        Ok(!there)
    }

    /// Takes it out; one that is not there is a success.
    pub(crate) fn drop(&self) {
        let interface = &self.interface;
        match self.link().map(SchedClassifierLink::detach) {
            Ok(Ok(())) => {}
            Ok(Err(error)) if is_absent(&error) => {}
            Ok(Err(error)) => {
                tracing::warn!(interface, %error, "a program of the shortcut stays, until its time is over");
            }
            Err(error) => {
                tracing::debug!(interface, %error, "no interface to take a program out of");
            }
        }
    }

    fn link(&self) -> io::Result<SchedClassifierLink> {
        SchedClassifierLink::attached(&self.interface, self.place, PRIORITY, self.handle, None)
    }
}

fn program<'a>(
    programs: &'a mut Ebpf,
    name: &'static str,
) -> Result<&'a mut SchedClassifier, Refused> {
    let refused = |source: Cause| Refused::Load { name, source };
    let program = programs.program_mut(name).ok_or_else(|| refused("it is not there".into()))?;
    program.try_into().map_err(|error: ProgramError| refused(error.into()))
}

fn is_there(error: &ProgramError) -> bool {
    matches!(error, ProgramError::TcError(TcError::NetlinkError(error))
        if error.raw_os_error() == Some(Errno::EEXIST as i32))
}

/// No filter, no place for one, no interface.
fn is_absent(error: &ProgramError) -> bool {
    let ProgramError::NetlinkError(error) = error else { return false };
    let absent =
        [Errno::ENOENT, Errno::EINVAL, Errno::ENODEV, Errno::EOPNOTSUPP].map(|errno| errno as i32);
    error.raw_os_error().is_some_and(|code| absent.contains(&code))
}
