// A certified OpenID provider (npm's oidc-provider) on loopback: `node provider.mjs PORT REDIRECT_URIS ACCOUNTS.json`.
// ACCOUNTS.json: account → its claims; it is read at every sign-in, so that a test can change what somebody is a member of.
import { readFileSync } from 'node:fs';

import Provider from 'oidc-provider';

const [port, uris, file] = process.argv.slice(2);
const redirects = JSON.parse(uris);
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    { client_id: 'tandem', client_secret: 'a-secret-of-the-client', redirect_uris: redirects, grant_types: ['authorization_code'] },
    {
      client_id: 'public',
      redirect_uris: redirects,
      grant_types: ['authorization_code'],
      token_endpoint_auth_method: 'none',
    },
  ],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['preferred_username', 'groups'] },
  pkce: { required: () => true },
  async findAccount(_, id) {
    return { accountId: id, claims: async () => ({ sub: id, ...JSON.parse(readFileSync(file, 'utf8'))[id] }) };
  },
});
provider.listen(Number(port), '127.0.0.1', () => console.log('ready'));
