// client.js PORT CA CONNECTIONS REQUESTS: so many connections at once, so many requests on each.
const https = require('https');
const fs = require('fs');

const [port, ca, connections, requests] = process.argv.slice(2);

function connect(i) {
  const agent = new https.Agent({ keepAlive: true, maxSockets: 1, ca: fs.readFileSync(ca) });
  let k = 0;
  const next = () => {
    if (k == requests) {
      agent.destroy();
      return;
    }
    const path = `/c${i}/r${k}?n=${(i * 37 + k * 101) % 5000}`;
    const options = { host: 'localhost', port, path, agent, method: 'POST' };
    const request = https.request(options, (response) => {
      response.resume();
      response.on('end', () => setTimeout(next, Math.random() * 3));
    });
    request.end('y'.repeat((i * 13 + k * 7) % 300));
    k += 1;
  };
  next();
}

for (let i = 0; i < connections; i++) connect(i);
