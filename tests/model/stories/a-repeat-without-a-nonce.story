# Mutant "a repeat without a nonce": P1, P3: its own cordon without a slot
search alone
A: reads its Node
A: reads slots and host, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: reads its Node
A: reads slots and host, sends the claim of slot 0
A: the API applies its claim of slot 0
A: gets the answer to its claim of slot 0
A: reads its Node
A: reads slots and host, sends the cordon
A: gives up waiting for the answer to its cordon
A: reads its Node
A: reads slots and host, finds that a person holds the node, sends the confirmation
A: the API applies its confirmation
A: gets the answer to its confirmation
A: reads its Node
A: reads slots and host, finds that a person holds the node, sends the release of slot 0
A: the API applies its release of slot 0
A: the API applies the late cordon
---
A: reads its Node
    slot 0 free | A up
A: reads slots and host, sends the confirmation
    slot 0 free | A up, waits for an answer
A: the API applies its confirmation
    slot 0 free | A up, waits for an answer
A: gets the answer to its confirmation
    slot 0 free | A up
A: reads its Node
    slot 0 free | A up
A: reads slots and host, sends the claim of slot 0
    slot 0 free | A up, waits for an answer
A: the API applies its claim of slot 0
    slot 0 held by A (this boot) | A up, waits for an answer
A: gets the answer to its claim of slot 0
    slot 0 held by A (this boot) | A up
A: reads its Node
    slot 0 held by A (this boot) | A up
A: reads slots and host, sends the cordon
    slot 0 held by A (this boot) | A up, waits for an answer
A: gives up waiting for the answer to its cordon
    slot 0 held by A (this boot) | A up, a late write to the Node on its way
A: reads its Node
    slot 0 held by A (this boot) | A up, a late write to the Node on its way
A: reads slots and host, finds that a person holds the node, sends the confirmation
    slot 0 held by A (this boot) | A up, a late write to the Node on its way, waits for an answer
A: the API applies its confirmation
    slot 0 held by A (this boot) | A up, waits for an answer
A: gets the answer to its confirmation
    slot 0 held by A (this boot) | A up
A: reads its Node
    slot 0 held by A (this boot) | A up
A: reads slots and host, finds that a person holds the node, sends the release of slot 0
    slot 0 held by A (this boot) | A up, waits for an answer
A: the API applies its release of slot 0
    slot 0 free | A up, waits for an answer
A: the API applies the late cordon
    cannot happen; instead: A: gets the answer to its release of slot 0
