"""More ways to ask for each kind, as patterns: "(what|which) name (do|did) they give you".

Training only: a wording that is held out is left out wherever a pattern makes it.
"""

import itertools
import re

_PATTERNS = {
    "name": """(what|which) name do (you have|they call you by); (what|how) (do|should|may) (I|we|they) call you;
(what is|what's|tell me|say|give me|repeat) your (name|first name|full name) (please|again|); (who|what) is your name;
(who|whom) (am I|are we) (talking|speaking) (to|with) (now|today|); I (forgot|do not know|would like to know|need) your name;
(do you have|have you got) a (name|nickname); (what|who) are you called; (is|was) your name robin; (introduce|present) yourself""",
    "abilities": """(what|which things|what else) (can|could) you do (for me|for us|today|); (what|what else) (can|could|should|may) (I|we) (ask|ask you|ask for|say|try);
(what|which) (questions|topics|things) (do you know|can you answer|do you understand|are there); (help|please help) (me|us);
(I|we) need (some help|your help|help); how (can|could) you (help|assist) (me|us); (show|tell) me (what you can do|your skills|your talents|everything you can do);
(what|which) (skills|talents|abilities|features) do you have; what are your (abilities|features|talents|strengths); (give|tell) me (examples|some examples|some ideas)""",
    "product": """(what is|explain|describe|tell me about) (this program|this software|this project|this website|this product|this app|this page);
what does this (app|page|product|project|program|software) (do|offer|show); what is (moshi|this app|this software|this about|all this) (for|);
(why|what) (was this|is this) (program|product|software) made for; what (is the idea|is the point|is the purpose|is the goal) (of this|of this program|of all this);
(what|which) (program|software|product|app) is this; what (can|could) (I|we) (do with|use) this (program|software|product|for)""",
    "listening": """(can|could|may|should) (I|we) (interrupt|stop) you (while you speak|while you talk|any time|);
(do|can) you (listen|hear me|hear) (while|when|as) you (speak|talk|are talking|are speaking); (are you|do you) (still|always|really|) (listening|listening to me|listen to me);
(do|must|should) (I|we) (wait|wait for you|be quiet) (until you finish|when you talk|); what (happens|do you do) (when|if) I (interrupt|talk over|stop) you;
(can|do) (we|you and I) (both speak|both talk|speak together) (at once|at the same time); (can|do) you (speak|talk) and (listen|hear) (together|at the same time|)""",
    "demo": """are you (just|only|really|) a (demo|demo model|test|toy|demonstration); is this (just|only|) a (demo|demonstration|test|toy);
(what|which) (kind of|type of|) (model|demo) (are you|is this); why (do|can) you (know|understand|say) so (little|few things);
(can|could|do|will) you run on (my|a|any) (laptop|computer|machine|phone); (what|which) (computer|machine|hardware) do (you|I) need;
(how smart|how clever|how intelligent) are you; are you (the real|the big|the full|a real) (model|moshi|version)""",
    "upgrade": """how (do|can|could) (I|we) (use|get|load|install|start|download|try|set up) (the real|a better|a bigger|the big|another|the full) (model|moshi|one|version);
(where|when) (do|can|could) (I|we) (get|find|download) (the real|a better|a bigger|the big) (model|moshi|one);
(use|load|start|give me|switch to|change to|show me|I want) (the real|a better|a bigger|the big|another) (model|one);
how (do|can) (I|we) (change|switch|replace|upgrade) (the model|to the real model|you|to a better model)""",
    "size": """how (big|large|small|tiny|heavy) (are you|is this model|is the model|is your model|is moshi|is your brain|is your network);
how (many|much) (parameters|weights|layers|numbers|megabytes|memory|space) (do you have|do you need|do you use|are there|does it have);
(what|tell me) (is your size|your size|is the size|the size of the model); are you (really|very|so|) (big|small|large|tiny);
is (the real model|your brain|the model) (very|much|) (big|bigger|large|larger|small|smaller)""",
    "speed": """how (fast|quick|quickly|soon|slow) (are you|do you answer|can you answer|do you react|can you talk|is this|do you respond);
(what|tell me) (is your|your|about your) (speed|latency|response time|reaction time|delay); why are you (so|that) (fast|slow|quick);
how (long|many seconds) (do you need|does it take|do you take|must I wait) (to answer|for an answer|to respond|); you are (very|really|so|pretty) (fast|quick|slow);
(is|was) (this|that|it) (real time|in real time|live|fast|slow); how (big|long|large) is (the|your) (delay|latency|pause)""",
    "privacy": """(do|will|can) you (record|store|save|keep|share|sell) (me|my voice|my data|my words|this|this talk|what I say);
(are|am) (you recording|I recorded|you recording me|we recorded); (where|what) (does|happens to|happens with) my (voice|data|voice go|data go);
is (this|it|our talk|my voice|my data) (private|safe|secret|secure|recorded|public); (who|who else|does anybody) (can hear|hears|listens to|can listen to) (me|us|this);
do you (use|need|have) (the internet|a connection|the cloud); (does|can) (this|it) (work|run) (offline|without internet)""",
    "human": """are you (really|even|maybe|) (a human|a robot|a person|a machine|a computer program|a bot|alive|real|a real person|an alien|a ghost);
(am I|are we) (talking|speaking) (to|with) (a human|a robot|a machine|a real person|a person|a computer); (is this|is that|is it) (a robot|a human|a machine|a person|a real person|a recording|a bot);
(do|can) you (have feelings|think|feel|feel pain|love|dream|have a body|have emotions); what (kind of thing|kind of being|exactly|) are you; you (sound|talk) like (a robot|a human|a machine)""",
    "maker": """who (made|built|created|trained|programmed|designed|invented|developed|wrote|owns|taught) you;
(where|how) were you (made|built|created|trained|programmed|designed|developed); who (is|are) your (maker|creator|developer|developers|father|mother|parents|owner|boss|inventor|teacher);
(which|what) (company|person|team|people) (made|built|created|trained|owns) you; (how|where) did you learn (to speak|to talk|this|english|that);
(who|what) is behind you; whose (idea|robot|model|work) (was this|are you|is this)""",
    "age": """how (old|young|new) are you (now|today|really|); (what|tell me) (is your age|your age|is your date of birth|your birthday|your date of birth);
when (were you|was you) (born|made|created|built|trained); (what|which) (year|day|month) were you (born|made|created); when is your birthday (party|);
(are you|you are) (very|quite|really|still|) (old|young|new); how (many years|many days|long) (old are you|have you existed|have you lived|ago were you born)""",
    "home": """where (do you|does robin|do you really) (live|stay|sleep|work|come from|run); where (are you|is your home|is your house|is your computer|is your place) (now|right now|exactly|);
(what|which) (city|country|town|place|state|street) (do you live in|are you in|are you from|is your home in); (do you have|have you got) a (home|house|room|bed|flat|place to live);
(are you|do you live) (in the cloud|in a computer|in my computer|in a house|in america|in europe|near me|far away|at home); (what|tell me) (is your address|your address|where you are|where you live)""",
    "language": """(do|can) you (speak|understand|know|talk|learn) (english|french|german|spanish|italian|chinese|japanese|russian|dutch|portuguese|polish|another language|other languages);
(what|which|how many) (language|languages) (do you speak|can you speak|do you know|do you understand|are you speaking|can you learn); (speak|talk|answer|say it|switch to) (german|french|spanish|italian|chinese|dutch) (please|);
(can|could) (you|we) (translate this|translate|speak another language|use another language); is (english|this|that) your (only|first|native) language""",
    "joke": """(tell|give) (me|us) (a|your best|your favorite|some|a good|a short) (joke|jokes); (do you know|do you have|have you got|can you tell|let me hear|I want|I need|I would like) (a joke|any jokes|a good joke|some jokes);
(say|tell me|do) something (funny|hilarious); (make|let) (me|us) (laugh|smile|hear a joke); (can|could|would) you (tell|make) (a joke|me a joke|us a joke|me laugh); (please|now) (tell a joke|a joke|be funny|joke)""",
    "another": """(tell me|give me|say|I want|do you know|do you have|can you tell me|let me hear) (another joke|one more joke|another one|a different joke|a second joke|a better joke|one more|more jokes);
(another|one more|a different|a second|the next|a new) (joke|one) (please|now|); (I know|I heard|you told|you know) (that|this) (joke|one) (already|)""",
    "count": """(count|can you count|could you count|please count|would you count|try to count|I want you to count) (to five|to ten|to three|to twenty|from one to five|up to ten|for me|out loud|slowly|now|);
(say|tell me|list|read) (the|some|your|all) numbers (from one to five|please|); (do you know|can you say|let me hear) (the|your|some) numbers; how (far|high) can you count; (start|begin|try) (counting|to count)""",
    "countdown": """(count|can you count|could you count|please count|now count|try to count) (down|backwards|back|in reverse) (from five|from ten|to zero|to one|please|);
(start|do|begin|give me|make|try|I want) (the|a) countdown (please|now|); (say|tell me) the numbers (backwards|in reverse|from five to one); (five|ten) to (zero|one) (please|backwards)""",
    "alphabet": """(say|tell me|recite|sing|read|list|I want|give me|let me hear|can you say|do you know|could you recite) (the|your) (alphabet|letters|a b c) (please|);
(what|which) (are the letters|letters are there|letters do you know|is the alphabet); (can|could) you (spell|say|read) (the alphabet|letters|words|all letters); (start|begin) with (a|the letter a)""",
    "fact": """(tell|give|teach) (me|us) (a|one|some|another) (fact|fun fact|interesting fact|facts) (please|); (tell me|say|teach me|do you know|I want to hear) something (interesting|new|smart|clever|useful|surprising);
(do you know|have you got|can you tell me|share) (a|any|some|an interesting) (fact|facts|fun fact); (surprise|educate|teach|amaze) (me|us); (I want|I would like|help me) to learn (something|something new); (tell me|what do you know) about (honey|bees|the world)""",
    "hearing": """(can|do) you (hear|understand) (me|us|my voice|what I say) (now|well|clearly|okay|all right|); (is|are) (my|the|this) (microphone|sound|audio|line|connection) (on|working|okay|good|clear|loud enough);
(is|does) (this|it) (working|work) (now|); (testing|test|microphone test|sound check) (one two|one two three|please|); (is|are) (anyone|anybody|somebody|you) (there|here|with me|hearing me);
am I (loud enough|clear|too quiet|too loud|audible|on)""",
    "color": """(what|which) (color|colors) (do you like|do you prefer|is your favorite|do you love|is best|would you pick|is nice|do you know|is pretty) (most|best|);
(what is|tell me|name|say) your (favorite|best|preferred) color; do you (like|love|prefer) (blue|red|green|yellow|black|white|pink|orange|purple|colors);
(name|pick|choose|say|tell me) (a|one|some|your) color; (red|blue|green|black) or (yellow|white|red|green)""",
    "animal": """(what|which) (animal|animals|pet|bird) (do you like|do you prefer|is your favorite|do you love|would you be|is best|do you have|is nice);
(what is|tell me|name|say) your favorite (animal|pet|bird|dog); do you (like|love|prefer|have|know) (animals|cats|dogs|birds|owls|horses|a dog|a cat|a pet|fish|pets);
(name|pick|choose|say|tell me) (an|one) animal; (cats|dogs|birds) or (dogs|cats|fish)""",
    "food": """(what|which) (food|meal|dish|drink|fruit|do you) (do you like|do you eat|is your favorite|do you love|can you cook|eat|drink) (most|best|);
(what is|tell me|name) your favorite (food|meal|dish|drink|fruit|dessert); do you (like|love|eat|want|need|drink) (pizza|food|coffee|tea|chocolate|apples|ice cream|cake|bread|fish|breakfast|soup);
are you (hungry|thirsty|eating); what (should I|can I|did you|do you|will you) (eat|cook|have) (today|for dinner|for lunch|for breakfast|tonight); (I am|we are) (hungry|thirsty|starving)""",
    "music": """(can|could|would|will|do) you (sing|dance|rap|sing a song|play music|play the piano|play guitar|hum|whistle) (for me|please|);
(sing|play|hum|start|put on) (a song|music|some music|something|me a song|a tune) (for me|please|now|); (what|which) (music|song|songs|kind of music|band) (do you like|do you know|is your favorite|do you love);
do you (like|love|know|have|hear) (music|songs|a song|any songs|jazz|rock music|some music); (what is|tell me) your favorite (song|music|band|singer)""",
    "weather": """(what is|how is|what's|tell me|do you know|give me) the (weather|forecast|weather forecast|temperature) (today|tomorrow|outside|now|like|there|);
(is it|will it be|was it|is it still) (cold|warm|hot|sunny|windy|cloudy|rainy|raining|snowing|foggy|nice) (outside|today|tomorrow|now|); (will|does|did) it (rain|snow) (today|tomorrow|tonight|);
(do|will) (I|we) need (an umbrella|a coat|a jacket|sunglasses); how (cold|warm|hot|many degrees) is it (outside|today|); (is|will) the sun (shining|shine|out) (today|)""",
    "time": """(what|tell me|do you know|can you tell me|say) (time is it|the time|what time it is|the current time) (now|please|right now|); (what|which) (day|date|month|year|weekday|hour) is (it|today|it today|it now|tomorrow);
(what is|what's|tell me|say) (the|today's) (time|date|hour|day) (today|now|please|); is it (late|early|noon|midnight|morning|evening|monday|friday|sunday|already late|time); (do you have|have you got) (the time|a calendar); how (late|early) is it""",
    "math": """(what is|how much is|what's|calculate|tell me) (two|three|four|five|seven|nine|ten|twelve|twenty) (plus|minus|times|divided by) (two|three|four|six|eight|nine|ten|eleven);
(can|could) you (do math|calculate|add|multiply|count money|do sums|solve a problem|subtract); (do|solve|calculate) (some math|the math|a sum|this sum|an equation|this); (are you|how) good (at|are you at) (math|numbers|adding);
(what is|how much is) (half|a third|the double|ten percent|the square root) of (four|six|nine|ten|twenty|a hundred); (add|multiply|divide|subtract) (two|three|ten|six) (and|by|from) (four|five|seven|nine)""",
    "hello": """(hello|hi|hey|oh hi|well hello) (there|robin|my friend|friend|everyone|again|you|to you|dear|computer|robot); good (morning|evening|afternoon|day) (robin|to you|everyone|my friend|sir|);
(nice|pleased|good|glad|great) to (meet|see) you (robin|again|too|); (hello|hi|hey) (hello|hi|hey)""",
    "howareyou": """(hello|hi|so|and|) how are (you|you doing|things|you feeling|you today|things today|you now|you my friend); how (is|was) (it going|your day|life|everything|your morning|your week);
how (do|did) you (feel|feel today|sleep|do today); are you (okay|fine|well|happy|sad|all right|tired|good|angry|bored) (today|now|); (is|are) (everything|things|all) (okay|all right|fine|good) (with you|today|); (did|do) you (sleep well|have a good day|feel good|feel well)""",
    "thanks": """(thank you|thanks|many thanks|okay thanks|oh thank you|great thank you|good thanks) (robin|very much|so much|a lot|for that|for your help|for the answer|for everything|my friend|for the joke|again|for your time|for telling me|indeed);
(that was|that is) (helpful|very helpful) (thank you|thanks); I (thank you|am grateful|am thankful)""",
    "kind": """you are (so|very|really|) (nice|great|funny|cool|kind|sweet|clever|good|lovely|wonderful|amazing|beautiful|the best); (that was|that is|this is) (very|really|so|) (good|great|funny|nice|cool|amazing|wonderful|lovely);
I (like|love|really like) (you|your voice|this|it|talking to you|that answer|your jokes); (good|great|nice|well|excellent) (job|answer|work|done|voice|robot); (what a|you have a|such a) (nice|good|great|lovely|beautiful) (voice|robot|answer)""",
    "sorry": """(sorry|I am sorry|oh sorry|so sorry|I am very sorry|oops sorry) (robin|about that|for that|for the noise|for interrupting|my friend|I was wrong|I made a mistake|I am late|that was me|);
(my|that was my|it was my) (mistake|fault|error|bad); (excuse|forgive) me (please|for that|for interrupting|); (I apologize|my apologies|please forgive me) (for that|for this|for the noise)""",
    "wait": """(wait|please wait|can you wait|just wait|could you wait) (a moment|a second|a minute|for me|a little|please|here|); (one|just a|just one|give me a|give me one) (moment|second|minute) (please|);
(hold|hang) on (a second|please|a moment|a minute|); let me (think|see|check|look|finish) (about it|for a moment|first|); (stop|be quiet|quiet|silence|pause) (now|please|talking|for a moment); I (need|want) to (think|check something|look)""",
    "yes": """(yes|yeah|yep|oh yes|okay yes) (please|of course|sure|I do|I am|it is|you can|indeed|that is right|I think so|exactly|certainly|definitely|go ahead|I like that);
(that is|that's|you are|this is) (right|true|correct) (yes|indeed|); (sure|of course|certainly|absolutely|definitely|exactly|correct) (I do|yes|thing|); I (agree|think so|believe so|do|guess so|am fine|am good) (too|yes|)""",
    "no": """(no|nope|oh no|well no|no no) (thanks|not really|I do not|I am not|it is not|not now|not today|never|that is wrong|I disagree|of course not|never mind|I can not|please not|sir);
(not|maybe not|certainly not|definitely not|absolutely not) (really|at all|today|now|yet|for me); I (do not|don't) (think so|want that|like that|know|agree|believe so|want to); (that is|that's|this is) (wrong|not true|false|not right|incorrect)""",
    "repeat": """(please|can you|could you|would you|will you|) (repeat|say) (that|it|this|that again|it again|your answer|the answer|the last answer|that once more|it one more time) (please|for me|);
(what|sorry what|pardon what) (did you say|was that|did you just say|did you tell me); (once|one time|one more time|again|once again) (please|more please|more); I (did not|could not|didn't) (hear|get|catch|understand) (that|it|you|what you said)""",
    "bye": """(goodbye|bye|bye bye|okay bye|well goodbye|so long) (robin|my friend|for now|everyone|then|and thank you|until tomorrow|see you|); (see|talk to|speak to) you (later|soon|tomorrow|again|next time|next week);
I (have to|must|need to|want to|should) (go|leave|go now|hang up|go home|stop here|leave now|go to work|sleep); (have a|enjoy your) (nice|good|great|lovely) (day|evening|weekend|night|time); (good|sleep) (night|well)""",
}


def _expand(pattern):
    """Every text that a pattern stands for."""
    parts = [part.split("|") for part in re.split(r"[()]", pattern)]
    return [" ".join("".join(choice).split()) for choice in itertools.product(*parts)]


MORE_WORDINGS = {
    kind: [
        [text for text in _expand(" ".join(pattern.split())) if text] for pattern in patterns.split(";")
    ]
    for kind, patterns in _PATTERNS.items()
}
