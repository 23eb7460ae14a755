// Sends by hot-shots: udp or tcp and the port are arguments.

const { StatsD } = require('hot-shots');

const [protocol, port] = process.argv.slice(2);
const client = new StatsD({
    host: '127.0.0.1',
    port: Number(port),
    protocol,
    prefix: 'shop.',
    globalTags: { env: 'test' },
    maxBufferSize: protocol === 'udp' ? 1400 : 0,
    errorHandler(error) {
        throw error;
    },
});
for (let i = 1; i <= 100; i++) {
    client.increment('orders', 2, { route: '/pay' });
    client.histogram('size', i);
    client.distribution('cost', i / 8);
}
client.increment(['first', 'second']);
client.gauge('depth', 10);
client.gaugeDelta('depth', 2.5);
client.gaugeDelta('depth', -4);
client.timing('answer', 3);
for (const user of ['ann', 'bob', 'ann']) {
    client.set('users', user);
}
client.unique('users', 'c:d');
// Each sample is sent, with its rate.
Math.random = () => 0;
for (let i = 0; i < 3; i++) {
    client.increment('sampled', 1, 0.25, ['beta', 'page:a|b']);
    client.timing('sampled.answer', 7, 0.5);
}
client.increment('past', 4, { timestamp: new Date(Date.now() - 2000) });
client.childClient({ prefix: 'web.', suffix: '.total', globalTags: { part: 'cart' } }).increment('clicks');
client.event('Deployed', 'version 2\nby ann', { alert_type: 'error', hostname: 'web1' }, ['team:web']);
client.check('database', client.CHECKS.CRITICAL, { hostname: 'db1', message: 'no answer' }, ['shard:1']);
client.close();
