// server.js CERT KEY PORT_FILE: an https server that says of each request between which addresses
// it came.
const https = require('https');
const fs = require('fs');

const [cert, key, portFile] = process.argv.slice(2);

const server = https.createServer(
  { cert: fs.readFileSync(cert), key: fs.readFileSync(key) },
  (request, response) => {
    const { remoteAddress, remotePort, localAddress, localPort } = request.socket;
    request.resume();
    request.on('end', () => {
      console.log(JSON.stringify({
        path: request.url,
        client: `${remoteAddress}:${remotePort}`,
        server: `${localAddress}:${localPort}`,
      }));
      const length = Number(request.url.split('n=')[1]);
      setTimeout(() => response.end('x'.repeat(length)), Math.random() * 3);
    });
  },
);
server.keepAliveTimeout = 60000;
server.listen(0, '127.0.0.1', () => fs.writeFileSync(portFile, `${server.address().port}\n`));
