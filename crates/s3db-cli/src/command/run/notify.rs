//! Tells systemd that the service is ready or stops, where that asks for it (`Type=notify`; sd_notify(3)).

use std::os::unix::net::UnixDatagram;

pub(super) fn ready() {
    tell("READY=1");
}

pub(super) fn stopping() {
    tell("STOPPING=1");
}

fn tell(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let text = path.to_string_lossy();
    let sent = UnixDatagram::unbound().and_then(|socket| match text.strip_prefix('@') {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt as _;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.send_to_addr(state.as_bytes(), &address)
        }
        None => socket.send_to(state.as_bytes(), &path),
    });
    if let Err(error) = sent {
        crate::output::note(&format!("warning: the service manager could not be told: {error}"));
    }
}
