"""Swahili words, most frequent first, since no frequency list that we may use holds them.

The list is ours: words of every day and of school mathematics, with the forms that a lesson uses. Character trigrams
learned from it judge the verbs, which carry their subject, tense and object in front (`tu-na-hesabu`).
"""

_LIST = """
na ya wa kwa ni katika za la cha kuwa hii hiyo kama yake au vya hilo huo hizo hayo hao yao wake lake zake wao
yangu yetu si sio bado pia tu sana zaidi kila kisha lakini ili hivyo kwanza pili tatu mbili moja nne tano sita
saba nane tisa kumi ishirini thelathini arobaini hamsini sitini sabini themanini tisini mia elfu milioni mawili
matatu manne matano wawili watatu wanne watano viwili vitatu vinne vitano ana wana ina zina kina vina una tuna
nina mna alikuwa walikuwa ilikuwa zilikuwa atakuwa watakuwa itakuwa huwa ndiyo ndio hapana basi sasa leo jana
kesho siku wiki mwezi mwaka saa dakika asubuhi mchana jioni usiku watu mtu mtoto watoto mwanafunzi wanafunzi
mwalimu walimu shule darasa kitabu vitabu daftari kalamu penseli nyumba gari magari duka soko pesa shilingi dola
bei gharama faida hasara jumla idadi nusu robo theluthi asilimia sehemu sawa zote yote wote lote vyote kiasi
kipande vipande kikapu vikapu sanduku masanduku mfuko mifuko yai mayai embe maembe tufaha matufaha chungwa
machungwa ndizi mkate mikate keki maji maziwa chai sukari unga mchele kuku bata mbuzi ng'ombe mbwa paka samaki
mti miti ua maua shamba eneo urefu upana kimo mduara pembe pembetatu mraba mstatili mstari jibu swali hesabu
tatizo suluhisho thamani namba nambari tofauti wastani kasi umbali muda uzito lita kilo mita kilomita kuongeza
kutoa kuzidisha kugawanya kujumlisha kupata kupima kuhesabu kununua kuuza kula kunywa kwenda kurudi kufanya
kutumia kulipa kuanza kumaliza kubaki tunahesabu tunakagua tunajumlisha tunazidisha tunagawanya tunatoa tunapata
tunaongeza tunajua tutapata ananunua anauza anakula anakunywa anapata anatumia analipa anafanya anaenda anarudi
anatoa aliuza alinunua alikula alipata alitumia alilipa alifanya alienda alirudi alitoa wananunua wanauza
wanakula wanapata walinunua waliuza walikula walipata hutaga hula huuza hununua hupata hutumia inagharimu
zinagharimu ilibaki zilibaki amebaki wamebaki imebaki zimebaki yamebaki iliyobaki zilizobaki waliobaki
yaliyobaki ngapi gani nini nani wapi lini vipi kwani kwamba ambao ambayo ambaye ambazo baada kabla kati chini
juu ndani nje karibu mbali pamoja bila mpaka hadi tangu kutoka kwenye hapa hapo pale huku huko yule wale hawa
huyu hiki hivi hizi haya kile vile ile zile nyingi wengi mengi vingi kidogo wachache kubwa ndogo mpya mzee
kijana rafiki marafiki kaka dada mama baba babu bibi mwanamke wanawake mwanaume wanaume mkulima wakulima
mfanyakazi wafanyakazi kazi mshahara malipo deni tiketi safari baiskeli treni ndege jumapili jumatatu jumanne
jumatano alhamisi ijumaa jumamosi hatua mwisho mwanzo kweli uongo makosa sahihi angalia tukumbuke fikiria hebu
tuone kwahiyo hatimaye mwishowe matokeo ukweli neno maneno lugha kiswahili
"""
WORDS = tuple(_LIST.split())
