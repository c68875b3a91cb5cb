// The imports of the component are the host's: nothing to bundle.
export default { external: [/^conclave:/] };
