//! Where the processes of a cluster can listen on this machine. Out: a host and port for each, which nobody had a moment ago. Fails
//! where there is no port to be had.

use std::net::TcpListener;

/// So many of them, all different: they are held together, and let go.
pub fn free(processes: usize) -> std::io::Result<Vec<String>> {
    let held: Vec<TcpListener> = (0..processes).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    held.iter().map(|it| Ok(it.local_addr()?.to_string())).collect()
}
