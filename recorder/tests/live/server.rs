//! nginx in a folder of its own: own certificate, free ports, and an access log with addresses.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::support::{Live, Started, within};

/// A running nginx with TLS on 127.0.0.1 and `::1`. Dropped, it is ended.
pub(crate) struct Nginx {
    folder: PathBuf,
    port_v4: u16,
    port_v6: u16,
    master: Started,
}

impl Nginx {
    pub(crate) fn start(live: &Live) -> Self {
        Self::start_as(live, "ssl")
    }

    /// A server that offers HTTP/2.
    pub(crate) fn start_http2(live: &Live) -> Self {
        Self::start_as(live, "ssl http2")
    }

    fn start_as(live: &Live, listen: &str) -> Self {
        let configured = Configured::new(live, listen);
        let master = live.spawn(Command::new("sh").args(["-c", &configured.command()]));
        let Configured { folder, port_v4, port_v6 } = configured;
        let nginx = Self { folder, port_v4, port_v6, master };
        let answers = || TcpStream::connect((Ipv4Addr::LOCALHOST, port_v4)).ok();
        assert!(within(Duration::from_secs(10), answers).is_some(), "{}", nginx.errors());
        nginx
    }

    /// Puts a file under the document root, at `/NAME`.
    pub(crate) fn serve(&self, name: &str, contents: &[u8]) {
        fs::write(self.folder.join("root").join(name), contents).unwrap();
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port_v4)
    }

    pub(crate) fn url_v6(&self, path: &str) -> String {
        format!("https://[::1]:{}{path}", self.port_v6)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port_v4
    }

    pub(crate) fn ca(&self) -> String {
        self.folder.join("cert.pem").to_str().unwrap().to_owned()
    }

    /// The document root.
    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    pub(crate) fn master_pid(&self) -> u32 {
        self.master.pid()
    }

    pub(crate) fn worker_pids(&self) -> Vec<u32> {
        let pid = self.master.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        children.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    /// Lines of `client-address server-address request-uri status`.
    pub(crate) fn access_log(&self) -> Vec<String> {
        let log = fs::read_to_string(self.folder.join("access.log")).unwrap();
        log.lines().map(str::to_owned).collect()
    }

    fn errors(&self) -> String {
        fs::read_to_string(self.folder.join("error.log")).unwrap_or_default()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // QUIT lets the workers end; killing the master alone would leave them behind.
        self.master.signal(3);
        let ended = within(Duration::from_secs(5), || self.master.child.try_wait().unwrap());
        if ended.is_none() {
            self.master.signal(15);
            let _ = within(Duration::from_secs(5), || self.master.child.try_wait().unwrap());
        }
    }
}

/// An nginx that may be started.
pub(crate) struct Configured {
    folder: PathBuf,
    pub(crate) port_v4: u16,
    port_v6: u16,
}

impl Configured {
    /// With the words of its `listen` after the address, such as `ssl http2`.
    pub(crate) fn new(live: &Live, listen: &str) -> Self {
        let folder = live.path("nginx");
        fs::create_dir_all(folder.join("root")).unwrap();
        certificate(live, &folder);
        let (port_v4, port_v6) =
            (free_port(Ipv4Addr::LOCALHOST.into()), free_port(Ipv6Addr::LOCALHOST.into()));
        let configuration = CONFIGURATION
            .replace(" ssl;", &format!(" {listen};"))
            .replace("FOLDER", folder.to_str().unwrap())
            .replace("PORT_V4", &port_v4.to_string())
            .replace("PORT_V6", &port_v6.to_string());
        fs::write(folder.join("nginx.conf"), configuration).unwrap();
        Self { folder, port_v4, port_v6 }
    }

    /// The command of the shell that becomes its master.
    pub(crate) fn command(&self) -> String {
        let folder = self.folder.display();
        format!("exec /usr/sbin/nginx -p {folder} -c {folder}/nginx.conf -e {folder}/error.log")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }
}

/// Makes `key.pem` and `cert.pem` for localhost.
pub(crate) fn certificate(live: &Live, folder: &std::path::Path) {
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (key, cert) = (file("key.pem"), file("cert.pem"));
    let names = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1";
    let mut args = vec!["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
    args.extend(["-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext", names]);
    args.extend(["-keyout", &key, "-out", &cert]);
    live.succeed("openssl", &args);
}

pub(crate) fn free_port(address: IpAddr) -> u16 {
    TcpListener::bind(SocketAddr::new(address, 0)).unwrap().local_addr().unwrap().port()
}

const CONFIGURATION: &str = "
daemon off;
user root;
worker_processes 2;
pid FOLDER/nginx.pid;
events { worker_connections 512; }
http {
    types { text/html html; application/json json; }
    default_type application/octet-stream;
    client_max_body_size 64m;
    client_body_temp_path FOLDER/body;
    proxy_temp_path FOLDER/proxy;
    fastcgi_temp_path FOLDER/fastcgi;
    uwsgi_temp_path FOLDER/uwsgi;
    scgi_temp_path FOLDER/scgi;
    log_format addresses '$remote_addr,$remote_port,$server_addr,$server_port $request_uri $status';
    access_log FOLDER/access.log addresses;
    server {
        listen 127.0.0.1:PORT_V4 ssl;
        listen [::1]:PORT_V6 ssl;
        server_name localhost;
        ssl_certificate FOLDER/cert.pem;
        ssl_certificate_key FOLDER/key.pem;
        root FOLDER/root;
        location /slow/ { alias FOLDER/root/; limit_rate 8k; }
        location /post { return 201 'taken\\n'; }
        location /redirect { return 302 /small.html; }
        location /moved { return 301 /small.html; }
        location /files/ { dav_methods PUT DELETE; create_full_put_path on; }
    }
}
";
